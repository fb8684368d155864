// From a text to the tokens that a graph takes: checks, prompt, shortening (docs/bundle.md).

#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "manifest.h"
#include "tokenizer.h"

namespace gearshift::detail {

struct Encoded {
  Encoding encoding;
  std::vector<std::u32string> parts;  // as they were tokenized
  bool truncated = false;
};

class TextEncoder {
 public:
  TextEncoder(const Manifest& manifest, const Json& tokenizer, const std::string& where)
      : tokenizer_(tokenizer, where, manifest.max_length),
        longest_(static_cast<std::size_t>(manifest.max_length) * characters_per_token),
        prompt_(codes_of(manifest.prompt).value_or(U"")) {}

  // Tokens of a text; raises InputError for an empty one and for what is not UTF-8.
  Encoded encode(const Text& text) const {
    std::vector<std::u32string> parts = {checked(text.first)};
    if (text.second) parts.push_back(checked(*text.second));
    Encoded made;
    parts[0] = prompt_ + parts[0];
    for (std::u32string& part : parts) made.truncated = shorten(part) || made.truncated;
    made.encoding = tokenizer_.encode(parts);
    made.parts = std::move(parts);
    made.truncated = made.truncated || made.encoding.cut;
    return made;
  }

 private:
  static constexpr std::size_t characters_per_token = 32;

  static std::u32string checked(const std::string& text) {
    const auto codes = codes_of(text);
    if (!codes) throw InputError("not valid Unicode; expected text in UTF-8");
    if (std::all_of(codes->begin(), codes->end(), is_blank)) throw InputError("empty text; expected at least one word");
    return *codes;
  }

  // Cut a text to the characters that can fit the model, runs of white space counting as one; returns whether it did.
  bool shorten(std::u32string& text) const {
    if (text.size() <= longest_) return false;
    std::u32string single;
    for (const char32_t code : text) {
      if (!is_blank(code)) single += code;
      else if (!single.empty() && single.back() != U' ') single += U' ';
    }
    if (!single.empty() && single.back() == U' ') single.pop_back();
    const bool cut = single.size() > longest_;
    if (cut) single = tokenizer_.cuts_beginning() ? single.substr(single.size() - longest_) : single.substr(0, longest_);
    text = single;
    return cut;
  }

  Tokenizer tokenizer_;
  std::size_t longest_;
  std::u32string prompt_;
};

// A deadline in ms or nothing; raises InputError for anything but a positive number.
inline std::optional<double> checked_deadline(std::optional<double> deadline_ms) {
  if (!deadline_ms || (*deadline_ms > 0 && std::isfinite(*deadline_ms))) return deadline_ms;
  throw InputError("deadline_ms: expected a positive number of milliseconds or None, got " + repr(*deadline_ms));
}

}  // namespace gearshift::detail
