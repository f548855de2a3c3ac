#include "experts/hot_set.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <variant>

#include "formats/checksum.h"

namespace sluice {
namespace {

// The file, little-endian: kMagic, then as u32 the version, the number of layers and of experts,
// then the model's fingerprint as u64; of each layer its visits (u32); of each expert its layer's
// turn (u16), its number (u16) and its uses (u32); and a hash (u64) of all this.
constexpr std::string_view kMagic = "SluiceHS";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 28, kVisitsBytes = 4, kExpertBytes = 8, kHashBytes = 8;

template <typename T>
void put(std::string& bytes, T number) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes.push_back(static_cast<char>(number >> (8 * i) & 0xff));
  }
}

template <typename T>
T get(std::string_view bytes, std::size_t at) {
  T number = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    number |= static_cast<T>(static_cast<T>(static_cast<unsigned char>(bytes[at + i])) << (8 * i));
  }
  return number;
}

struct Closer {
  void operator()(const int* descriptor) const { ::close(*descriptor); }
};

Status failure(const std::string& path) {
  const int error = errno;
  return {error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
          path + ": " + std::strerror(error)};
}

Status not_one(const std::string& path) {
  return {ErrorCode::kInvalidArgument, path + ": this is no hot set, and is left as it is"};
}

Status damaged(const std::string& path, const std::string& what) {
  return {ErrorCode::kCorrupt, path + ": " + what};
}

/// The file's first `most` bytes. Only of what is a file.
Result<std::string> read_start(const std::string& path, std::size_t most) {
  // A pipe would be waited for.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return failure(path);
  const std::unique_ptr<const int, Closer> closer(&descriptor);
  struct stat about = {};
  if (fstat(descriptor, &about) != 0) return failure(path);
  if (!S_ISREG(about.st_mode)) return not_one(path);
  std::string bytes(std::min(most, static_cast<std::size_t>(about.st_size)), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(descriptor, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure(path);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

Status check_magic(const std::string& path, std::string_view bytes) {
  if (bytes.empty()) return {ErrorCode::kNotFound, path + ": is empty"};
  return bytes.starts_with(kMagic) ? Status() : not_one(path);
}

Status write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure(path);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

/// What the path leads to, so that a link stays one.
std::string resolved(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  return real != nullptr ? real.get() : path;
}

void append(std::string& text, const std::string& name) {
  put(text, std::uint64_t{name.size()});
  text += name;
}

void append(std::string& text, const Setting& setting) {
  const auto number = [&](auto value) {
    if constexpr (std::is_same_v<decltype(value), double>) {
      put(text, std::bit_cast<std::uint64_t>(value));
    } else {
      put(text, static_cast<std::uint64_t>(value));
    }
  };
  const auto value = [&](const auto& held) {
    using Held = std::decay_t<decltype(held)>;
    if constexpr (std::is_same_v<Held, std::string>) {
      append(text, held);
    } else if constexpr (std::is_arithmetic_v<Held>) {
      number(held);
    } else {
      put(text, std::uint64_t{held.size()});
      for (const auto one : held) number(one);
    }
  };
  put(text, std::uint64_t{setting.index()});
  std::visit(value, setting);
}

}  // namespace

std::uint64_t fingerprint(const Checkpoint& checkpoint) {
  std::string text;
  append(text, checkpoint.architecture);
  for (const std::string& file : checkpoint.files) {
    append(text, file.substr(file.find_last_of('/') + 1));
  }
  for (const auto& [key, setting] : checkpoint.settings) {
    append(text, key);
    append(text, setting);
  }
  for (const auto& [name, tensor] : checkpoint.tensors) {
    append(text, name);
    put(text, static_cast<std::uint64_t>(tensor.type));
    put(text, std::uint64_t{tensor.shape.size()});
    for (const auto size : tensor.shape) put(text, static_cast<std::uint64_t>(size));
    for (const FileRange& range : tensor.ranges) {
      put(text, std::uint64_t{range.file});
      put(text, range.offset);
      put(text, range.bytes);
    }
  }
  return checksum(text);
}

Result<HotSet> read_hot_set(const std::string& path, std::uint64_t model,
                            const ExpertCatalogue& catalogue) {
  const std::vector<ExpertLayer>& layers = catalogue.layers();
  const std::size_t most = kHeaderBytes + kVisitsBytes * layers.size() +
                           kExpertBytes * catalogue.total_experts() + kHashBytes;
  SLUICE_ASSIGN(const std::string file, read_start(path, most + 1));
  SLUICE_TRY(check_magic(path, file));
  if (file.size() < kHeaderBytes + kHashBytes) return damaged(path, "is cut short");
  const std::string_view bytes = std::string_view(file).substr(0, file.size() - kHashBytes);
  const auto version = get<std::uint32_t>(bytes, 8);
  if (version != kVersion) {
    return Status(ErrorCode::kUnsupported, path + ": has version " + std::to_string(version) +
                                               "; this program knows " + std::to_string(kVersion));
  }
  if (get<std::uint64_t>(bytes, 20) != model) {
    return Status(ErrorCode::kUnsupported, path + ": is of another model");
  }
  if (file.size() > most || get<std::uint64_t>(file, bytes.size()) != checksum(bytes)) {
    return damaged(path, "is damaged or cut short");
  }
  const auto layer_count = get<std::uint32_t>(bytes, 12);
  const auto expert_count = get<std::uint32_t>(bytes, 16);
  const std::uint64_t said = kHeaderBytes + std::uint64_t{kVisitsBytes} * layer_count +
                             std::uint64_t{kExpertBytes} * expert_count;
  if (layer_count != layers.size() || said != bytes.size()) {
    return damaged(path, "says " + std::to_string(layer_count) + " layers and " +
                             std::to_string(expert_count) + " experts in " +
                             std::to_string(file.size()) + " bytes");
  }
  HotSet hot;
  std::size_t at = kHeaderBytes;
  for (; hot.visits.size() < layer_count; at += kVisitsBytes) {
    hot.visits.push_back(get<std::uint32_t>(bytes, at));
  }
  for (; hot.experts.size() < expert_count; at += kExpertBytes) {
    const HotSet::Expert one{get<std::uint16_t>(bytes, at), get<std::uint16_t>(bytes, at + 2),
                             get<std::uint32_t>(bytes, at + 4)};
    if (one.turn >= layer_count || one.expert >= layers[one.turn].experts) {
      return damaged(path, "names expert " + std::to_string(one.expert) + " of sparse layer " +
                               std::to_string(one.turn) + " at byte " + std::to_string(at) +
                               ", which the model does not have");
    }
    hot.experts.push_back(one);
  }
  return hot;
}

Status write_hot_set(const std::string& path, std::uint64_t model, const HotSet& hot) {
  std::string bytes(kMagic);
  put(bytes, kVersion);
  put(bytes, static_cast<std::uint32_t>(hot.visits.size()));
  put(bytes, static_cast<std::uint32_t>(hot.experts.size()));
  put(bytes, model);
  for (const std::uint32_t visits : hot.visits) put(bytes, visits);
  for (const HotSet::Expert& one : hot.experts) {
    put(bytes, one.turn);
    put(bytes, one.expert);
    put(bytes, one.uses);
  }
  put(bytes, checksum(bytes));

  const auto there = read_start(path, kMagic.size());
  Status status = there.ok() ? check_magic(path, *there) : there.status();
  if (!status.ok() && status.code() != ErrorCode::kNotFound) return status;
  const std::string target = resolved(path);
  const std::string beside = target + "." + std::to_string(::getpid()) + ".part";
  const int descriptor = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return failure(path);
  status = write_all(descriptor, bytes, path);
  if (::close(descriptor) != 0 && status.ok()) status = failure(path);
  if (status.ok() && ::rename(beside.c_str(), target.c_str()) != 0) status = failure(path);
  if (!status.ok()) ::unlink(beside.c_str());
  return status;
}

}  // namespace sluice
