#include "store/nested_errors.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "formats/stored_layout.h"

namespace sluice {
namespace {

/// With so many of 96 and 256 rows as many of the bundled model's experts rest at each width as
/// with all rows, at 3.25, 4.125 and 4.5 bits.
constexpr std::size_t kMeasuredRows = 64;

/// Which ones of so many.
std::vector<std::size_t> measured_rows(std::size_t all) {
  std::vector<std::size_t> rows(std::min(all, kMeasuredRows));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = i * all / rows.size();
  return rows;
}

/// numbers `[rows, columns]`
void decode_rows(const NestedView& view, std::span<const std::byte> planes, std::size_t columns,
                 std::span<const std::size_t> rows, std::span<float> numbers) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    decode_nested_row(view, planes.data(), columns, rows[i], numbers.data() + i * columns);
  }
}

/// Of what numbers lack. What is no number, as scales of an integer source may make it, counts
/// nothing.
double squares(std::span<const float> numbers, std::span<const float> right,
               std::span<const float> importance, std::size_t columns) {
  double sum = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double missing = double{right[i]} - double{numbers[i]};
    if (!std::isfinite(missing)) continue;
    sum += (importance.empty() ? 1.0 : double{importance[i % columns]}) * missing * missing;
  }
  return sum;
}

NestedErrors errors_of(NestedView view, std::span<const std::byte> planes, std::size_t columns,
                       std::span<const std::size_t> rows, std::span<const float> right,
                       std::span<const float> importance) {
  std::vector<float> numbers(right.size());
  const double all = squares(numbers, right, importance, columns);
  NestedErrors errors{};
  const NestedForm& form = *view.form;
  const std::size_t groups = form.groups_within(view.width);
  for (std::size_t count = 1; count <= groups && all > 0; ++count) {
    view.width = static_cast<std::uint8_t>(form.width(count));
    decode_rows(view, planes, columns, rows, numbers);
    errors[count - 1] = squares(numbers, right, importance, columns) / all;
  }
  return errors;
}

}  // namespace

Result<RowsOfMatrix> some_rows(const TensorInfo& tensor, std::span<const std::byte> source,
                               std::span<const std::byte> scales) {
  const std::vector<std::size_t> rows = measured_rows(tensor.shape[1]);
  const std::size_t columns = tensor.shape[2];
  RowsOfMatrix some{.tensor = {tensor.name, tensor.type, {1, rows.size(), columns}, {}},
                    .bytes = {},
                    .numbers = std::vector<float>(rows.size() * columns)};
  std::vector<float> floats;
  std::vector<std::byte> laid_out;
  if (tensor.stored) {
    if (tensor_format(tensor.type).is_float()) {
      some.tensor.type = TensorType::kF32;
      floats.resize(tensor.shape[1] * columns);
      SLUICE_TRY(decode_range(tensor, source, scales, floats));
      source = std::as_bytes(std::span(floats));
    } else {
      laid_out.resize(relaid_bytes(tensor));
      SLUICE_TRY(relay_range(tensor, source, scales, laid_out));
      source = laid_out;
    }
  }
  const TensorFormat& format = tensor_format(some.tensor.type);
  const std::size_t row_bytes = format.bytes(columns);
  some.bytes.resize(rows.size() * row_bytes);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::ranges::copy(source.subspan(rows[i] * row_bytes, row_bytes),
                      some.bytes.begin() + static_cast<std::ptrdiff_t>(i * row_bytes));
  }
  format.decode(some.bytes.data(), some.numbers.data(), some.numbers.size());
  if (!format.is_float()) return some;
  for (std::size_t i = 0; i < some.numbers.size(); ++i) {
    if (std::isfinite(some.numbers[i])) continue;
    // The fitter would count other rows.
    return Status(ErrorCode::kInvalidArgument,
                  "the weight in row " + std::to_string(rows[i / columns]) + ", column " +
                      std::to_string(i % columns) + " is " + std::to_string(some.numbers[i]));
  }
  return some;
}

NestedErrors nested_errors(const NestedView& view, std::span<const std::byte> planes,
                           const RowsOfMatrix& right, std::span<const float> importance) {
  std::vector<std::size_t> rows(right.tensor.shape[1]);
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  return errors_of(view, planes, right.tensor.shape[2], rows, right.numbers, importance);
}

NestedErrors nested_errors(const NestedView& view, std::span<const std::byte> planes,
                           std::size_t rows, std::size_t columns,
                           std::span<const float> importance) {
  const std::vector<std::size_t> some = measured_rows(rows);
  std::vector<float> right(some.size() * columns);
  decode_rows(view, planes, columns, some, right);
  return errors_of(view, planes, columns, some, right, importance);
}

}  // namespace sluice
