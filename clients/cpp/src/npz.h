// Reader of the arrays of selftest.npz: a zip archive, stored or deflated (RFC 1951), of .npy files.

#pragma once

#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "hash.h"

namespace gearshift::detail {

struct NumberArray {
  std::vector<std::int64_t> shape;
  std::vector<float> floats;
  std::vector<std::int64_t> integers;
  std::vector<std::u32string> texts;
};

class Inflater {
 public:
  // Raises std::runtime_error unless the packed bytes make exactly `expected` bytes.
  static Bytes unpacked(const std::uint8_t* packed, std::size_t length, std::size_t expected) {
    Inflater one(packed, length, expected);
    while (!one.block()) {
    }
    if (one.made_.size() != expected) fault();
    return std::move(one.made_);
  }

 private:
  // Canonical Huffman code: number of codes of each length, and symbols in the order of their codes.
  struct Code {
    std::vector<int> counts = std::vector<int>(16, 0);
    std::vector<int> symbols;
    explicit Code(const std::vector<int>& lengths) {
      for (const int length : lengths) ++counts[static_cast<std::size_t>(length)];
      counts[0] = 0;
      for (int length = 1; length < 16; ++length)
        for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol)
          if (lengths[symbol] == length) symbols.push_back(static_cast<int>(symbol));
    }
  };

  Inflater(const std::uint8_t* packed, std::size_t length, std::size_t expected)
      : packed_(packed), length_(length), expected_(expected) {
    made_.reserve(expected);
  }
  [[noreturn]] static void fault() { throw std::runtime_error("damaged compressed data"); }
  int bits(int count) {
    int found = 0;
    for (int place = 0; place < count; ++place, ++at_) {
      if (at_ / 8 >= length_) fault();
      found |= (packed_[at_ / 8] >> (at_ % 8) & 1) << place;
    }
    return found;
  }
  int symbol(const Code& code) {
    int value = 0, first = 0, index = 0;
    for (int length = 1; length < 16; ++length) {
      value |= bits(1);
      const int count = code.counts[static_cast<std::size_t>(length)];
      if (value - count < first) return code.symbols[static_cast<std::size_t>(index + value - first)];
      index += count;
      first = (first + count) << 1;
      value <<= 1;
    }
    fault();
  }
  void put(std::uint8_t byte) {
    if (made_.size() >= expected_) fault();
    made_.push_back(byte);
  }
  // Unpack one block; returns whether it was the last.
  bool block() {
    const bool last = bits(1) == 1;
    const int kind = bits(2);
    if (kind == 0) {
      at_ = (at_ + 7) / 8 * 8;
      const int count = bits(16);
      bits(16);
      for (int place = 0; place < count; ++place) put(static_cast<std::uint8_t>(bits(8)));
    } else if (kind == 1) {
      std::vector<int> lengths(288, 8);
      for (std::size_t one = 144; one < 256; ++one) lengths[one] = 9;
      for (std::size_t one = 256; one < 280; ++one) lengths[one] = 7;
      codes(Code(lengths), Code(std::vector<int>(30, 5)));
    } else if (kind == 2) {
      dynamic();
    } else {
      fault();
    }
    return last;
  }
  void dynamic() {
    const auto literals = static_cast<std::size_t>(bits(5) + 257), distances = static_cast<std::size_t>(bits(5) + 1);
    const int known = bits(4) + 4;
    static constexpr std::size_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    std::vector<int> lengths(19, 0);
    for (int place = 0; place < known; ++place) lengths[order[place]] = bits(3);
    const Code of_lengths(lengths);
    lengths.clear();
    while (lengths.size() < literals + distances) {
      const int one = symbol(of_lengths);
      if (one < 16) {
        lengths.push_back(one);
        continue;
      }
      if (one == 16 && lengths.empty()) fault();
      const int repeated = one == 16 ? lengths.back() : 0;
      const int count = one == 16 ? 3 + bits(2) : one == 17 ? 3 + bits(3) : 11 + bits(7);
      lengths.insert(lengths.end(), static_cast<std::size_t>(count), repeated);
    }
    if (lengths.size() != literals + distances) fault();
    const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(literals);
    codes(Code({lengths.begin(), middle}), Code({middle, lengths.end()}));
  }
  void codes(const Code& literals, const Code& distances) {
    static constexpr int lengths[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static constexpr int places[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                     193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    for (int one = symbol(literals); one != 256; one = symbol(literals)) {
      if (one < 256) {
        put(static_cast<std::uint8_t>(one));
        continue;
      }
      if (one > 285) fault();
      const int more = one < 265 || one == 285 ? 0 : (one - 261) / 4;
      const int length = lengths[one - 257] + bits(more);
      const int far = symbol(distances);
      if (far > 29) fault();
      const auto distance = static_cast<std::size_t>(places[far] + bits(far < 4 ? 0 : far / 2 - 1));
      if (distance > made_.size()) fault();
      for (int place = 0; place < length; ++place) put(made_[made_.size() - distance]);
    }
  }

  const std::uint8_t* packed_;
  std::size_t length_, expected_, at_ = 0;
  Bytes made_;
};

// Header of an array, as numpy writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (8, 16), }
struct NpyHeader {
  char type = 0;               // f: float32, i: int64, U: text
  std::size_t characters = 0;  // of a text
  std::vector<std::int64_t> shape;
  std::size_t count = 1;  // of all elements
  std::size_t start = 0;  // of their bytes

  // Raises std::runtime_error for another one.
  static NpyHeader of(const Bytes& content) {
    static const std::uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    if (content.size() < 12 || std::memcmp(content.data(), magic, sizeof magic) != 0)
      throw std::runtime_error("not a whole array");
    const bool old = content[6] == 1;
    std::size_t length = 0;
    for (std::size_t place = old ? 2 : 4; place-- > 0;) length = length << 8 | content[8 + place];
    NpyHeader made;
    made.start = (old ? 10 : 12) + length;
    if (length > longest || made.start > content.size()) throw std::runtime_error("not a whole array");
    made.read(std::string(content.begin() + (old ? 10 : 12), content.begin() + static_cast<std::ptrdiff_t>(made.start)));
    return made;
  }

 private:
  // Bytes of a header that numpy itself reads without being told to.
  static constexpr std::size_t longest = 10000;
  static constexpr std::size_t most = std::size_t{1} << 28;

  void read(const std::string& text) {
    std::size_t at = text.find("'descr': '");
    at = at == std::string::npos ? text.size() : at + 10;
    if (takes(text, at, "<f4")) type = 'f';
    else if (takes(text, at, "<i8")) type = 'i';
    else if (takes(text, at, "<U")) type = 'U', characters = number(text, at);
    if (!type || !takes(text, at, "', 'fortran_order': False, 'shape': (")) throw std::runtime_error("an array of another type");
    while (!takes(text, at, ")")) {
      const std::size_t size = number(text, at);
      shape.push_back(static_cast<std::int64_t>(size));
      if (size && count > most / size) throw std::runtime_error("an array of another size");
      count *= size;
      if (!takes(text, at, ", ") && !takes(text, at, ",") && text.compare(at, 1, ")") != 0)
        throw std::runtime_error("an array of another type");
    }
  }
  static bool takes(const std::string& text, std::size_t& at, const char* expected) {
    const std::size_t length = std::strlen(expected);
    if (text.compare(at, length, expected) != 0) return false;
    at += length;
    return true;
  }
  static std::size_t number(const std::string& text, std::size_t& at) {
    std::size_t found = 0;
    const std::size_t first = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      found = found * 10 + static_cast<std::size_t>(text[at] - '0');
      if (found > most) throw std::runtime_error("an array of another size");
    }
    if (at == first) throw std::runtime_error("an array of another type");
    return found;
  }
};

class Npz {
 public:
  // Raises std::runtime_error for what is no archive.
  explicit Npz(const Bytes& content) : content_(content) {
    if (content.size() < 22) throw std::runtime_error("not a whole .npz file");
    std::size_t end = content.size() - 22;
    while (number(end, 4) != 0x06054b50)
      if (end-- == 0) throw std::runtime_error("not a whole .npz file");
    std::size_t at = number(end + 16, 4);
    for (std::size_t left = number(end + 10, 2); left > 0; --left) {
      if (number(at, 4) != 0x02014b50) throw std::runtime_error("not a whole .npz file");
      const std::size_t length = number(at + 28, 2), local = number(at + 42, 4);
      range(at + 46, length);
      const std::string name(content.begin() + static_cast<std::ptrdiff_t>(at + 46),
                             content.begin() + static_cast<std::ptrdiff_t>(at + 46 + length));
      const std::size_t start = local + 30 + number(local + 26, 2) + number(local + 28, 2);
      entries_[name] = {number(at + 10, 2), number(at + 20, 4), number(at + 24, 4), start};
      at += 46 + length + number(at + 30, 2) + number(at + 32, 2);
    }
  }

  // Array of a name; raises std::runtime_error if it is missing, or no float32, int64 or text.
  NumberArray array(const std::string& name) const {
    const auto found = entries_.find(name + ".npy");
    if (found == entries_.end()) throw std::runtime_error("no array " + name);
    const Entry& entry = found->second;
    range(entry.start, entry.packed);
    const std::uint8_t* data = content_.data() + entry.start;
    if (entry.method == 0) return parsed(Bytes(data, data + entry.packed));
    if (entry.method != 8) throw std::runtime_error("a compression of another kind");
    if (entry.bytes > most || entry.bytes / most_packed > entry.packed) throw std::runtime_error("an array of another size");
    return parsed(Inflater::unpacked(data, entry.packed, entry.bytes));
  }

 private:
  // Bytes of an array: those of a self-test are some megabytes.
  static constexpr std::size_t most = std::size_t{1} << 28;
  // Largest ratio of unpacked to packed bytes of RFC 1951: a match of 258 bytes in 2 bits.
  static constexpr std::size_t most_packed = 1032;
  struct Entry {
    std::size_t method, packed, bytes, start;
  };

  void range(std::size_t start, std::size_t length) const {
    if (start > content_.size() || length > content_.size() - start) throw std::runtime_error("not a whole .npz file");
  }
  std::size_t number(std::size_t at, std::size_t bytes) const {
    range(at, bytes);
    std::size_t found = 0;
    for (std::size_t place = 0; place < bytes; ++place) found |= std::size_t{content_[at + place]} << (8 * place);
    return found;
  }
  static NumberArray parsed(const Bytes& content) {
    const NpyHeader header = NpyHeader::of(content);
    const std::size_t width = header.type == 'U' ? header.characters * 4 : header.type == 'f' ? 4 : 8;
    if (width > most || (width && header.count > most / width) || content.size() - header.start != header.count * width)
      throw std::runtime_error("an array of another size");
    NumberArray made;
    made.shape = header.shape;
    if (header.type == 'U') {
      read_texts(content, header, made);
      return made;
    }
    if (header.type == 'f') made.floats.resize(header.count);
    else made.integers.resize(header.count);
    void* target = header.type == 'f' ? static_cast<void*>(made.floats.data()) : static_cast<void*>(made.integers.data());
    if (header.count) std::memcpy(target, content.data() + header.start, content.size() - header.start);
    return made;
  }

  // Texts are stored as UTF-32, each filled up with zeros.
  static void read_texts(const Bytes& content, const NpyHeader& header, NumberArray& made) {
    const std::size_t width = header.characters;
    if (width == 0 && header.count) throw std::runtime_error("texts without a character");
    for (std::size_t text = 0; text < header.count; ++text) {
      std::u32string codes(width, U'\0');
      std::memcpy(codes.data(), content.data() + header.start + text * width * 4, width * 4);
      while (!codes.empty() && codes.back() == 0) codes.pop_back();
      made.texts.push_back(codes);
    }
  }

  const Bytes& content_;
  std::map<std::string, Entry> entries_;
};

}  // namespace gearshift::detail
