// A DAN: mean of n-gram embeddings, one hidden layer, logits (docs/bundle.md, "The DAN").

#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gearshift/gearshift.h"
#include "hash.h"
#include "json.h"
#include "unicode.h"
#include "words.h"

namespace gearshift::detail {

// A text in lower case as Python's `str.lower`, final sigma included.
inline std::u32string python_lower(const std::u32string& text) {
  const auto is_final = [&](std::size_t at) {
    std::size_t before = at, behind = at + 1;
    while (before > 0 && within(ignorable, text[before - 1])) --before;
    while (behind < text.size() && within(ignorable, text[behind])) ++behind;
    return before > 0 && within(cased, text[before - 1]) && !(behind < text.size() && within(cased, text[behind]));
  };
  std::u32string made;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == 0x3a3) made += is_final(at) ? char32_t{0x3c2} : char32_t{0x3c3};
    else made += mapped(small, small_parts, text[at]);
  }
  return made;
}

// Keys of the n-grams of a text.
class Ngrams {
 public:
  // Key of every n-gram of 1 to `longest` words, repeats kept.
  static std::vector<std::uint64_t> keys(const std::u32string& text, int longest) {
    constexpr std::uint64_t word_base = 0xc2b2ae3d27d4eb4f;
    const std::vector<std::uint64_t> single = word_keys(text);
    std::vector<std::uint64_t> found = single, last = single;
    for (std::size_t length = 2; length <= std::min(static_cast<std::size_t>(longest), single.size()); ++length) {
      last.pop_back();
      for (std::size_t place = 0; place < last.size(); ++place) last[place] = last[place] * word_base + single[place + length - 1];
      found.insert(found.end(), last.begin(), last.end());
    }
    for (std::uint64_t& key : found) {
      key = (key ^ key >> 32) * mix;
      key ^= key >> 32;
    }
    return found;
  }

 private:
  static constexpr std::uint64_t mix = 0xd6e8feb86659fd93;
  enum class Kind { inside, alone, blank };

  static Kind kind_of(unsigned char byte) {
    const bool letter = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
    if (byte >= 128 || letter) return Kind::inside;
    return is_blank(byte) ? Kind::blank : Kind::alone;
  }

  // Words of a text with blanks between them, so that it can be split like ASCII.
  static std::string spaced(const std::u32string& text) {
    std::string made;
    bool open = false;
    for (const char32_t code : text) {
      const bool ideograph = (code >= 0x3040 && code <= 0x30ff) || (code >= 0x3400 && code <= 0x9fff);
      const bool letter = !ideograph && within(letters, code);
      if (is_blank(code)) {
        open = false;
        continue;
      }
      if (!made.empty() && !(open && letter)) made += ' ';
      append(made, code);
      open = letter;
    }
    return made;
  }

  static std::vector<std::uint64_t> word_keys(const std::u32string& text) {
    constexpr std::size_t piece = 1 << 13;  // bytes that are hashed at once: a word that is cut by this is two
    const std::u32string lower = python_lower(text);
    const bool ascii = std::all_of(lower.begin(), lower.end(), [](char32_t code) { return code < 128; });
    const std::string content = ascii ? utf8(lower) : spaced(lower);
    std::vector<std::uint64_t> found;
    std::size_t start = 0;
    while (content.size() - start >= piece) {
      std::size_t end = start + piece - 2;
      while (end > start && kind_of(static_cast<unsigned char>(content[end])) != Kind::blank) --end;
      if (end == start) end = start + piece - 1;
      hash(content, start, end, found);
      start = end;
    }
    hash(content, start, content.size(), found);
    return found;
  }

  // Sum of (byte + 1) x base^place of each word, mixed.
  static void hash(const std::string& content, std::size_t start, std::size_t stop, std::vector<std::uint64_t>& found) {
    constexpr std::uint64_t base = 0x9e3779b97f4a7c15;
    std::uint64_t sum = 0, power = 1;
    bool open = false;
    const auto end = [&] {
      if (open) found.push_back((sum ^ sum >> 32) * mix);
      sum = 0, power = 1, open = false;
    };
    for (std::size_t at = start; at < stop; ++at) {
      const auto byte = static_cast<unsigned char>(content[at]);
      const Kind kind = kind_of(byte);
      if (kind != Kind::inside) end();
      if (kind == Kind::blank) continue;
      sum += (byte + std::uint64_t{1}) * power;
      power *= base;
      open = true;
      if (kind == Kind::alone) end();
    }
    end();
  }
};

class Dan {
 public:
  // Opens a safetensors file; raises IntegrityError for one that is no whole DAN.
  Dan(const Bytes& content, const std::string& where) {
    try {
      read(content);
    } catch (const std::exception& error) {
      throw IntegrityError(where + ": not a whole DAN (" + error.what() + "); copy it again");
    }
  }

  // Logits of one text. `parts`: the text, or both of a pair.
  std::vector<float> run(const std::vector<std::u32string>& parts) const {
    std::vector<double> inputs;
    if (paired_) {
      const std::vector<double> first = mean(parts[0]), second = mean(parts.size() > 1 ? parts[1] : U"");
      inputs = first;
      inputs.insert(inputs.end(), second.begin(), second.end());
      for (std::size_t place = 0; place < first.size(); ++place) inputs.push_back(first[place] * second[place]);
      for (std::size_t place = 0; place < first.size(); ++place) inputs.push_back(std::abs(first[place] - second[place]));
    } else {
      inputs = mean(parts.size() > 1 ? parts[0] + U" " + parts[1] : parts[0]);
    }
    std::vector<double> hidden = layer(hidden_weight_, inputs, hidden_bias_);
    for (double& one : hidden) one = std::max(0.0, one);
    const std::vector<double> logits = layer(output_weight_, hidden, output_bias_);
    return {logits.begin(), logits.end()};
  }

 private:
  static std::vector<double> layer(const std::vector<float>& weight, const std::vector<double>& inputs, const std::vector<float>& bias) {
    std::vector<double> made(bias.begin(), bias.end());
    for (std::size_t row = 0; row < made.size(); ++row) {
      if (weight.empty()) made[row] += inputs[row];
      else
        for (std::size_t place = 0; place < inputs.size(); ++place) made[row] += inputs[place] * weight[row * inputs.size() + place];
    }
    return made;
  }

  // Mean embedding of the n-grams of a text that the table has.
  std::vector<double> mean(const std::u32string& text) const {
    std::vector<double> sums(width_, 0);
    double known = 0;
    for (const std::uint64_t key : Ngrams::keys(text, longest_)) {
      constexpr std::uint64_t spread = 0x9e3779b97f4a7c15, mix = 0xd6e8feb86659fd93;
      const std::uint64_t displacement = displacements_[(key >> 32) * displacements_.size() >> 32];
      const std::size_t row = ((displacement * spread ^ key) * mix >> 32) * prints_.size() >> 32;
      if (prints_[row] != static_cast<std::uint32_t>(key)) continue;
      known += 1;
      for (std::size_t place = 0; place < width_; ++place) {
        const std::size_t at = row * width_ + place;
        sums[place] += scales_[row] * (wide_.empty() ? static_cast<double>(narrow_[at]) : wide_[at]);
      }
    }
    if (known > 0)
      for (double& one : sums) one /= known;
    return sums;
  }

  template <typename T>
  static std::vector<T> array(const Bytes& content, std::size_t start, const Json& header, const char* name, const char* type) {
    const Json& entry = header.at(name);
    const std::vector<Json>& offsets = entry.at("data_offsets").as_list();
    const double first = offsets.at(0).as_number(), end = offsets.at(1).as_number();
    if (entry.at("dtype").as_text() != type) throw std::runtime_error(std::string(name) + " of type " + entry.at("dtype").as_text());
    if (!(first >= 0 && first <= end && end <= static_cast<double>(content.size() - start)))
      throw std::runtime_error(std::string(name) + " is cut off");
    std::vector<T> made(static_cast<std::size_t>(end - first) / sizeof(T));
    if (!made.empty()) std::memcpy(made.data(), content.data() + start + static_cast<std::size_t>(first), made.size() * sizeof(T));
    return made;
  }

  void read(const Bytes& content) {
    std::uint64_t length = 0;
    for (std::size_t place = 0; place < 8; ++place) length |= std::uint64_t{content.at(place)} << (8 * place);
    if (length > content.size() - 8) throw std::runtime_error("a header that is cut off");
    const std::size_t start = 8 + static_cast<std::size_t>(length);
    const Json header = JsonReader::read(std::string(content.begin() + 8, content.begin() + static_cast<std::ptrdiff_t>(start)));
    const Json facts = JsonReader::read(header.at("__metadata__").at("description").as_text());
    if (facts.at("format").as_text() != "gearshift-dan" || facts.at("version").as_number() != 2)
      throw std::runtime_error("expected gearshift-dan 2, found " + repr(facts.at("format")) + " " + repr(facts.at("version")));
    longest_ = static_cast<int>(facts.at("longest").as_number());
    paired_ = facts.at("paired").as_boolean();
    displacements_ = array<std::uint16_t>(content, start, header, "displacements", "U16");
    prints_ = array<std::uint32_t>(content, start, header, "prints", "U32");
    scales_ = array<float>(content, start, header, "scales", "F32");
    hidden_bias_ = array<float>(content, start, header, "hidden_bias", "F32");
    output_weight_ = array<float>(content, start, header, "output_weight", "F32");
    output_bias_ = array<float>(content, start, header, "output_bias", "F32");
    if (header.find("hidden_weight")) hidden_weight_ = array<float>(content, start, header, "hidden_weight", "F32");
    if (header.at("rows").at("dtype").as_text() == "I8") narrow_ = array<std::int8_t>(content, start, header, "rows", "I8");
    else wide_ = array<float>(content, start, header, "rows", "F32");
    check_shapes();
  }

  void check_shapes() {
    const std::size_t values = narrow_.size() + wide_.size(), rows = prints_.size(), hidden = hidden_bias_.size();
    if (rows == 0 || displacements_.empty() || values % rows != 0) throw std::runtime_error("arrays whose shapes do not fit each other");
    width_ = values / rows;
    const std::size_t inputs = paired_ ? 4 * width_ : width_;
    const bool first = hidden_weight_.empty() ? !paired_ && hidden == width_ : hidden_weight_.size() == hidden * inputs;
    if (!first || width_ == 0 || scales_.size() != rows || output_weight_.size() != output_bias_.size() * hidden || longest_ < 1 || longest_ > 4)
      throw std::runtime_error("arrays whose shapes do not fit each other");
  }

  int longest_ = 1;
  bool paired_ = false;
  std::size_t width_ = 0;
  std::vector<std::uint16_t> displacements_;
  std::vector<std::uint32_t> prints_;
  std::vector<std::int8_t> narrow_;  // embeddings, one of the two
  std::vector<float> wide_, scales_, hidden_weight_, hidden_bias_, output_weight_, output_bias_;
};

}  // namespace gearshift::detail
