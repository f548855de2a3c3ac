#include "apps/simulate_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>

#include "apps/output_file.h"

namespace sluice::apps {
namespace {

constexpr double kLeft = 56, kRight = 130, kTop = 16, kBottom = 44, kWidth = 860, kHeight = 460;
// Distinguishable without colour vision, too (Okabe and Ito), then in dashes.
constexpr std::array kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                 "#e69f00", "#56b4e9", "#777777"};

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return safe;
}

/// From data to the drawing's coordinates. The vertical axis begins at a round number below all.
class Axes {
 public:
  explicit Axes(const SimulatedCurves& curves) {
    double lowest = 1;
    for (const SimulatedCurve& curve : curves.curves) {
      for (const double rate : curve.hit_rates) lowest = std::min(lowest, rate);
    }
    bottom_ = std::floor(std::min(lowest, 0.95) * 10) / 10;
    for (const double share : curves.shares) right_ = std::max(right_, share);
  }
  double bottom() const { return bottom_; }
  double right() const { return right_; }
  double x(double share) const { return kLeft + share / right_ * (kWidth - kLeft - kRight); }
  double y(double rate) const {
    return kHeight - kBottom - (rate - bottom_) / (1 - bottom_) * (kHeight - kTop - kBottom);
  }

 private:
  double bottom_ = 0, right_ = 0.01;
};

void draw_grid(std::string& svg, const Axes& axes) {
  const auto out = std::back_inserter(svg);
  const double step = axes.bottom() >= 0.7 ? 0.05 : 0.1;
  for (int i = 0; axes.bottom() + step * i < 1.0001; ++i) {
    const double rate = axes.bottom() + step * i, y = axes.y(rate);
    fmt::format_to(out,
                   "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
                   "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.0f} %</text>\n",
                   kLeft, kWidth - kRight, y, y, kLeft - 8, y + 4, 100 * rate);
  }
  for (int tenth = 0; tenth / 10.0 <= axes.right() + 1e-9; ++tenth) {
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{} %</text>\n",
                   axes.x(tenth / 10.0), kHeight - kBottom + 20, 10 * tenth);
  }
  fmt::format_to(out,
                 "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">capacity, of all experts' "
                 "bytes</text>\n",
                 (kLeft + kWidth - kRight) / 2, kHeight - 6);
}

void draw_curves(std::string& svg, const SimulatedCurves& curves, const Axes& axes) {
  const auto out = std::back_inserter(svg);
  std::vector<std::size_t> order(curves.shares.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return curves.shares[a] < curves.shares[b];
  });
  for (std::size_t i = 0; i < curves.curves.size(); ++i) {
    const SimulatedCurve& curve = curves.curves[i];
    const char* const colour = kColours[i % kColours.size()];
    const char* const dashes = i < kColours.size() ? "" : " stroke-dasharray=\"6 4\"";
    std::string points;
    for (const std::size_t at : order) {
      const double x = axes.x(curves.shares[at]), y = axes.y(curve.hit_rates[at]);
      fmt::format_to(std::back_inserter(points), "{:.1f},{:.1f} ", x, y);
      fmt::format_to(
          out,
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"><title>{} at {}: {:.1f} %"
          "</title></circle>\n",
          x, y, colour, escaped(curve.policy), escaped(curves.capacities[at]),
          100 * curve.hit_rates[at]);
    }
    const double key = kTop + 10 + 20 * static_cast<double>(i);
    fmt::format_to(out,
                   "<polyline points=\"{}\" stroke=\"{}\"{}/>\n<line x1=\"{:.1f}\" x2=\"{:.1f}\" "
                   "y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-width=\"2\"{}/>"
                   "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                   points, colour, dashes, kWidth - kRight + 16, kWidth - kRight + 40, key, key,
                   colour, dashes, kWidth - kRight + 46, key + 4, escaped(curve.policy));
  }
}

std::string table(const SimulatedCurves& curves) {
  std::string html = "<table><tr><th>policy</th>";
  const auto out = std::back_inserter(html);
  for (const std::string& capacity : curves.capacities) {
    fmt::format_to(out, "<th>{}</th>", escaped(capacity));
  }
  for (const SimulatedCurve& curve : curves.curves) {
    fmt::format_to(out, "</tr>\n<tr><td>{}</td>", escaped(curve.policy));
    for (const double rate : curve.hit_rates) fmt::format_to(out, "<td>{:.1f} %</td>", 100 * rate);
  }
  return html + "</tr></table>\n";
}

}  // namespace

std::string chart_html(const SimulatedCurves& curves) {
  const Axes axes(curves);
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"hit rate over capacity\">\n", kWidth,
      std::max(kHeight, kTop + 20 + 20 * static_cast<double>(curves.curves.size())));
  draw_grid(svg, axes);
  draw_curves(svg, curves, axes);
  svg += "</svg>\n";
  return fmt::format(
      R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{0}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
svg text {{ font-size: 12px; fill: currentColor; }}
svg .grid {{ stroke: currentColor; opacity: .2; }}
svg polyline {{ fill: none; stroke-width: 2; }}
th, td {{ text-align: right; padding: .2em .8em; }} th:first-child, td:first-child {{ text-align: left; }}
</style></head><body>
<h1>{0}</h1>
<p>Share of wanted experts that were in memory{3}.</p>
{1}{2}</body></html>
)",
      escaped(curves.trace), svg, table(curves), curves.decode ? ", in decode" : "");
}

Status write_chart(const std::string& path, const RunFiles& files, const SimulatedCurves& curves) {
  SLUICE_ASSIGN(OutputFile file, OutputFile::create(path, files));
  SLUICE_TRY(file.write(chart_html(curves)));
  return file.close();
}

}  // namespace sluice::apps
