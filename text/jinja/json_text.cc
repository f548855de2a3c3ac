#include <algorithm>
#include <cmath>

#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"

namespace sluice::jinja {
namespace {

void append_escape(std::string& out, char32_t unit) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kHexDigits[(unit >> shift) & 0xF];
}

std::string quoted(std::string_view text, bool ascii) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    switch (c.value) {
      case U'"':
        out += "\\\"";
        break;
      case U'\\':
        out += "\\\\";
        break;
      case U'\n':
        out += "\\n";
        break;
      case U'\r':
        out += "\\r";
        break;
      case U'\t':
        out += "\\t";
        break;
      case U'\f':
        out += "\\f";
        break;
      case U'\b':
        out += "\\b";
        break;
      default:
        if (c.value < 0x20 || (ascii && c.value >= 0x7F && c.value < 0x10000)) {
          append_escape(out, c.value);
        } else if (ascii && c.value >= 0x10000) {
          append_escape(out, 0xD800 + ((c.value - 0x10000) >> 10));
          append_escape(out, 0xDC00 + ((c.value - 0x10000) & 0x3FF));
        } else {
          out += text.substr(i, c.length);
        }
    }
    i += c.length;
  }
  return out + "\"";
}

class JsonWriter {
 public:
  JsonWriter(RenderState& state, std::string& out, const JsonStyle& style)
      : state_(state), out_(out), style_(style) {}

  void write(const Value& value) {
    const RenderState::Level level(state_);
    if (!level.ok || !state_.spend()) return;
    switch (value.kind()) {
      case Kind::kNone:
      case Kind::kBoolean:
      case Kind::kInteger:
      case Kind::kReal:
        put(scalar(value));
        return;
      case Kind::kText:
        put(quoted(value.text(), style_.ascii));
        return;
      case Kind::kList:
        write_list(value.items());
        return;
      case Kind::kDict:
        write_dict(value.dict());
        return;
      default:
        state_.fail("Object of type " + std::string(type_name(value)) +
                    " is not JSON serializable" +
                    (value.is(Kind::kUndefined) ? " (" + value.reason() + ")" : ""));
    }
  }

 private:
  void put(std::string_view text) { state_.append(out_, text); }

  static std::string scalar(const Value& value) {
    if (value.is(Kind::kNone)) return "null";
    if (value.is(Kind::kBoolean)) return value.boolean() ? "true" : "false";
    if (value.is(Kind::kInteger)) return std::to_string(value.integer());
    if (std::isnan(value.real())) return "NaN";
    if (std::isinf(value.real())) return value.real() < 0 ? "-Infinity" : "Infinity";
    return real_text(value.real());
  }

  void open(std::string_view bracket) {
    put(bracket);
    ++depth_;
    new_line();
  }
  void separate(bool first) {
    if (first) return;
    put(style_.item_separator);
    new_line();
  }
  void close(std::string_view bracket) {
    --depth_;
    new_line();
    put(bracket);
  }
  void new_line() {
    if (!style_.indent) return;
    put("\n");
    for (int i = 0; i < depth_ && !state_.failed(); ++i) put(*style_.indent);
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) return put("[]");
    open("[");
    for (std::size_t i = 0; i < items.size() && !state_.failed(); ++i) {
      separate(i == 0);
      write(items[i]);
    }
    close("]");
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) return put("{}");
    std::vector<const Entry*> entries;
    for (const Entry& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      state_.spend(entries.size() * 4);
      std::stable_sort(entries.begin(), entries.end(), [&](const Entry* a, const Entry* b) {
        return !state_.failed() && less(state_, a->first, b->first);
      });
    }
    open("{");
    for (std::size_t i = 0; i < entries.size() && !state_.failed(); ++i) {
      separate(i == 0);
      write_key(entries[i]->first);
      put(style_.key_separator);
      write(entries[i]->second);
    }
    close("}");
  }

  void write_key(const Value& key) {
    if (key.is(Kind::kText)) {
      put(quoted(key.text(), style_.ascii));
    } else if (key.is(Kind::kNone) || key.is_number()) {
      put("\"" + scalar(key) + "\"");
    } else {
      state_.fail("keys must be str, int, float, bool or None, not " + std::string(type_name(key)));
    }
  }

  RenderState& state_;
  std::string& out_;
  const JsonStyle& style_;
  int depth_ = 0;
};

}  // namespace

void append_json(RenderState& state, std::string& out, const Value& value, const JsonStyle& style) {
  JsonWriter(state, out, style).write(value);
}

}  // namespace sluice::jinja
