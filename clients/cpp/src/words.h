// Values in messages, in the words of the Python engine.

#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "json.h"
#include "unicode.h"

namespace gearshift::detail {

inline std::string escaped(char32_t code) {
  char made[16];
  if (code == '\n') return "\\n";
  if (code == '\r') return "\\r";
  if (code == '\t') return "\\t";
  std::snprintf(made, sizeof made, code < 256 ? "\\x%02x" : "\\u%04x", static_cast<unsigned>(code));
  return made;
}

// Text in which the characters that a terminal obeys are written as Python escapes them.
inline std::string safe(const std::string& text) {
  const auto codes = codes_of(text);
  if (!codes) return "(not valid UTF-8)";
  std::string made;
  for (const char32_t code : *codes) {
    const bool obeyed = (code < 0x20 && code != '\t') || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
                        (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    if (obeyed) made += escaped(code);
    else append(made, code);
  }
  return made;
}

// A text as Python writes it.
inline std::string repr(const std::string& text) {
  const bool twice = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char32_t mark = twice ? '"' : '\'';
  std::string made(1, static_cast<char>(mark));
  for (const char32_t code : codes_of(text).value_or(U"")) {
    if (code == '\\' || code == mark) made += '\\';
    if (code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0xad) made += escaped(code);
    else append(made, code);
  }
  return made + static_cast<char>(mark);
}

// A number in the fewest digits that give it back.
inline std::string repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char made[40];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(made, sizeof made, "%.*g", digits, value);
    if (std::strtod(made, nullptr) == value) break;
  }
  return made;
}

inline std::string repr(const Json& value) {
  switch (value.kind) {
    case Json::Kind::null: return "None";
    case Json::Kind::boolean: return value.boolean ? "True" : "False";
    case Json::Kind::number: return repr(value.number);
    case Json::Kind::text: return repr(value.text);
    case Json::Kind::list: {
      std::string made = "[";
      for (const Json& one : value.list) made += (made.size() > 1 ? ", " : "") + repr(one);
      return made + "]";
    }
    default: return "{...}";
  }
}

inline std::string joined(const std::vector<std::string>& names) {
  std::string made;
  for (const std::string& name : names) made += (made.empty() ? "" : ", ") + name;
  return made;
}

inline std::string one_line(const std::string& text) {
  std::string made;
  for (const char one : text) {
    const bool blank = one == ' ' || (one >= 9 && one <= 13);
    if (!blank) made += one;
    else if (!made.empty() && made.back() != ' ') made += ' ';
  }
  while (!made.empty() && made.back() == ' ') made.pop_back();
  return made;
}

}  // namespace gearshift::detail
