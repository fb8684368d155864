// JSON: values with their order of fields kept, and a reader with limits on depth.

#pragma once

#include <cmath>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "unicode.h"

namespace gearshift::detail {

class Json {
 public:
  enum class Kind { null, boolean, number, text, list, object };
  Kind kind = Kind::null;
  bool boolean = false;
  double number = 0;
  std::string text;
  std::vector<Json> list;
  std::vector<std::pair<std::string, Json>> fields;

  bool is(Kind one) const { return kind == one; }
  bool is_count() const { return is(Kind::number) && number >= 0 && number <= 9e15 && std::floor(number) == number; }
  const Json* find(const std::string& name) const {
    for (const auto& [field, value] : fields)
      if (field == name) return &value;
    return nullptr;
  }
  // Field of an object; raises std::runtime_error if it is missing.
  const Json& at(const std::string& name) const {
    if (const Json* found = find(name)) return *found;
    throw std::runtime_error("no field '" + name + "'");
  }
  // Field of this name unless it is missing or null.
  const Json* given(const std::string& name) const {
    const Json* found = find(name);
    return found == nullptr || found->is(Kind::null) ? nullptr : found;
  }
  const std::string& as_text() const { return require(Kind::text, "a text"), text; }
  double as_number() const { return require(Kind::number, "a number"), number; }
  bool as_boolean() const { return require(Kind::boolean, "true or false"), boolean; }
  const std::vector<Json>& as_list() const { return require(Kind::list, "a list"), list; }
  const std::vector<std::pair<std::string, Json>>& as_object() const { return require(Kind::object, "an object"), fields; }

  bool operator==(const Json& other) const;

 private:
  void require(Kind one, const char* what) const {
    if (kind != one) throw std::runtime_error(std::string("expected ") + what);
  }
};

// Objects of the same fields are equal in any order.
inline bool Json::operator==(const Json& other) const {
  if (kind != other.kind || boolean != other.boolean || number != other.number || text != other.text) return false;
  if (!(list == other.list) || fields.size() != other.fields.size()) return false;
  for (const auto& [name, value] : fields) {
    const Json* found = other.find(name);
    if (found == nullptr || !(*found == value)) return false;
  }
  return true;
}

class JsonReader {
 public:
  // Raises std::runtime_error, which says at which byte, for anything but one JSON value.
  static Json read(const std::string& content) {
    JsonReader reader(content);
    Json value = reader.value(0);
    reader.blanks();
    if (reader.at_ != content.size()) reader.fault();
    return value;
  }

 private:
  static constexpr int deepest = 100;
  explicit JsonReader(const std::string& content) : content_(content) {}

  [[noreturn]] void fault() const { throw std::runtime_error("not JSON at byte " + std::to_string(at_)); }
  char peek() const { return at_ < content_.size() ? content_[at_] : '\0'; }
  void blanks() {
    while (at_ < content_.size() && std::string(" \t\n\r").find(content_[at_]) != std::string::npos) ++at_;
  }
  bool taken(const std::string& word) {
    if (content_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }
  Json value(int depth) {
    if (depth > deepest) fault();
    blanks();
    Json made;
    if (peek() == '{') return object(depth);
    if (peek() == '[') return list(depth);
    if (peek() == '"') {
      made.kind = Json::Kind::text;
      made.text = text();
    } else if (taken("true") || taken("false")) {
      made.kind = Json::Kind::boolean;
      made.boolean = content_[at_ - 2] == 'u';
    } else if (!taken("null")) {
      made.kind = Json::Kind::number;
      made.number = number();
    }
    return made;
  }
  Json object(int depth) {
    Json made;
    made.kind = Json::Kind::object;
    ++at_;
    for (blanks(); peek() != '}'; blanks()) {
      if (!made.fields.empty() && !taken(",")) fault();
      blanks();
      if (peek() != '"') fault();
      std::string name = text();
      blanks();
      if (!taken(":")) fault();
      made.fields.emplace_back(std::move(name), value(depth + 1));
    }
    ++at_;
    return made;
  }
  Json list(int depth) {
    Json made;
    made.kind = Json::Kind::list;
    ++at_;
    for (blanks(); peek() != ']'; blanks()) {
      if (!made.list.empty() && !taken(",")) fault();
      made.list.push_back(value(depth + 1));
    }
    ++at_;
    return made;
  }
  double number() {
    const std::size_t start = at_;
    while (at_ < content_.size() && std::string("+-.eE0123456789").find(content_[at_]) != std::string::npos) ++at_;
    std::istringstream stream(content_.substr(start, at_ - start));
    stream.imbue(std::locale::classic());
    double found = 0;
    if (!(stream >> found) || !stream.eof()) fault();
    return found;
  }
  char32_t code() {
    if (at_ + 4 > content_.size()) fault();
    char32_t found = 0;
    for (int digit = 0; digit < 4; ++digit) {
      const char one = content_[at_++];
      const std::string digits = "0123456789abcdef";
      const std::size_t place = digits.find(static_cast<char>(one >= 'A' && one <= 'F' ? one + 32 : one));
      if (place == std::string::npos) fault();
      found = found * 16 + static_cast<char32_t>(place);
    }
    return found;
  }
  std::string text() {
    std::string made;
    for (++at_; peek() != '"';) {
      if (at_ >= content_.size() || static_cast<unsigned char>(peek()) < 32) fault();
      if (peek() != '\\') {
        made += content_[at_++];
        continue;
      }
      ++at_;
      const char kind = peek();
      ++at_;
      if (kind == 'u') {
        char32_t one = code();
        if (one >= 0xd800 && one < 0xdc00 && taken("\\u")) one = 0x10000 + ((one - 0xd800) << 10) + (code() - 0xdc00);
        append(made, one);
        continue;
      }
      const std::string names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
      const std::size_t place = names.find(kind);
      if (place == std::string::npos) fault();
      made += meanings[place];
    }
    ++at_;
    return made;
  }

  const std::string& content_;
  std::size_t at_ = 0;
};

}  // namespace gearshift::detail
