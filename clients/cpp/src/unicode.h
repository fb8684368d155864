// UTF-8, and classes of characters as the `tokenizers` package and Python see them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "unicode_tables.h"

namespace gearshift::detail {

inline void append(std::string& text, char32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xc0 | code >> 6);
    text += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xe0 | code >> 12);
    text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    text += static_cast<char>(0xf0 | code >> 18);
    text += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (code & 0x3f));
  }
}

inline std::string utf8(const std::u32string& codes) {
  std::string text;
  for (const char32_t code : codes) append(text, code);
  return text;
}

// Code points of a text; nullopt for what is not well-formed UTF-8 (surrogates and overlong forms included).
inline std::optional<std::u32string> codes_of(const std::string& text) {
  std::u32string codes;
  codes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const std::size_t more = first < 0x80 ? 0 : first >> 5 == 6 ? 1 : first >> 4 == 14 ? 2 : first >> 3 == 30 ? 3 : 4;
    if (more == 4 || at + more >= text.size()) return std::nullopt;
    char32_t code = more == 0 ? first : first & (0x3f >> more);
    for (std::size_t place = 1; place <= more; ++place) {
      const auto next = static_cast<unsigned char>(text[at + place]);
      if (next >> 6 != 2) return std::nullopt;
      code = code << 6 | (next & 0x3f);
    }
    static constexpr char32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff) return std::nullopt;
    codes += code;
    at += more + 1;
  }
  return codes;
}

template <std::size_t size>
bool within(const Range (&ranges)[size], char32_t code) {
  const Range* found = std::upper_bound(ranges, ranges + size, code,
                                        [](char32_t value, const Range& one) { return value < one.first; });
  return found != ranges && code <= found[-1].last;
}

// Entry of a character in a table; null if it has none.
template <std::size_t size>
const Mapped* entry_of(const Mapped (&table)[size], char32_t code) {
  const Mapped* found = std::lower_bound(table, table + size, code,
                                         [](const Mapped& one, char32_t value) { return one.code < value; });
  return found != table + size && found->code == code ? found : nullptr;
}

template <std::size_t size>
std::u32string mapped(const Mapped (&table)[size], const std::uint32_t* parts, char32_t code) {
  const Mapped* found = entry_of(table, code);
  if (found == nullptr) return {code};
  return {parts + found->start, parts + found->start + found->count};
}

// White space as Python's `str.isspace`.
inline bool is_blank(char32_t code) {
  return (code >= 0x1c && code <= 0x1f) || (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

inline bool is_space(char32_t code) { return within(spaces, code); }
inline bool is_punctuation(char32_t code) { return within(punctuation, code); }

// A character as BertNormalizer's `clean_text` leaves it: a blank, itself, or nothing.
inline std::u32string cleaned(char32_t code) {
  if (within(dropped, code)) return {};
  return {within(blanked, code) ? U' ' : code};
}

// Characters that are left of one without its accents.
inline std::u32string without_accents(char32_t code) {
  constexpr char32_t first = 0xac00, last = 0xd7a3, tails = 28, vowels = 21;
  if (code < first || code > last) return mapped(bare, bare_parts, code);
  const char32_t syllable = code - first, tail = syllable % tails;
  std::u32string made = {0x1100 + syllable / tails / vowels, 0x1161 + syllable / tails % vowels};
  if (tail) made += 0x11a7 + tail;
  return made;
}

inline std::u32string lowered(char32_t code) { return mapped(lower, lower_parts, code); }

// Whether BertNormalizer sets a character apart.
inline bool is_chinese(char32_t code) {
  static constexpr Range chinese[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
                                      {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};
  return within(chinese, code);
}

// Whether marks change places as accents are taken off, and some of them stay: tokens would get another order.
inline bool reorders(const std::u32string& text) {
  std::uint32_t last = 0;
  bool falls = false, stays = false;
  for (const char32_t code : text) {
    const Mapped* found = entry_of(classes, code);
    if (found == nullptr) {
      last = 0, falls = false, stays = false;
      continue;
    }
    for (std::size_t part = 0; part < found->count; ++part) {
      const std::uint32_t value = classes_parts[found->start + part], own = value & 255;
      if (own == 0) {
        last = 0, falls = false, stays = false;
        continue;
      }
      falls = falls || last > own;
      stays = stays || value >= 256;
      if (falls && stays) return true;
      last = own;
    }
  }
  return false;
}

}  // namespace gearshift::detail
