// Every character is cleaned, set apart, bared of accents, made small and cut at as the `tokenizers` package does; random
// texts of all scripts have its tokens and places, or are refused by name.

#include <functional>
#include <utility>
#include <vector>

#include "dan.h"
#include "hash.h"
#include "testing.h"
#include "tokenizer.h"
#include "unicode.h"

using namespace gearshift::detail;

namespace {

std::vector<char32_t> characters() {
  std::vector<char32_t> made;
  for (const auto& [first, end] : {std::pair<char32_t, char32_t>{0, 0xd800}, {0xe000, 0x30000}, {0xe0000, 0xe1000}})
    for (char32_t code = first; code < end; ++code) made.push_back(code);
  return made;
}

void check_characters(const Json& hashes, const std::function<std::u32string(char32_t)>& make) {
  constexpr std::size_t block = 1 << 12;
  const std::vector<char32_t> codes = characters();
  testing::require(hashes.list.size() == (codes.size() + block - 1) / block, "another number of blocks");
  for (std::size_t number = 0; number < hashes.list.size(); ++number) {
    std::string content;
    for (std::size_t place = number * block; place < std::min(codes.size(), (number + 1) * block); ++place)
      content += (place % block ? "\n" : "") + utf8(make(codes[place]));
    const std::string found = Sha256::hex(Bytes(content.begin(), content.end()));
    testing::require(found == hashes.list[number].text, "block of " + std::to_string(codes[number * block]));
  }
}

std::u32string between(const std::u32string& text) { return U"a" + text + U"b"; }

void check_random(const std::string& made) {
  constexpr double most_refused = 0.05;
  const Tokenizer tokenizer(testing::json_of(made + "/token.gearshift/tokenizer.json"), "tokenizer.json", 512);
  const Json rows = testing::json_of(made + "/random.json");
  std::size_t refused = 0;
  for (const Json& row : rows.list) {
    const std::u32string text = codes_of(row.at("text").text).value();
    try {
      const Encoding found = tokenizer.encode({text});
      std::vector<std::int64_t> ids;
      for (const Json& id : row.at("ids").list) ids.push_back(static_cast<std::int64_t>(id.number));
      testing::require(found.ids == ids, "other tokens of " + row.at("text").text);
      for (std::size_t token = 0; token < ids.size(); ++token) {
        const std::vector<Json>& place = row.at("places").list.at(token).list;
        testing::require(found.places[token].first == place[0].number && found.places[token].second == place[1].number,
                         "another place in " + row.at("text").text);
      }
    } catch (const gearshift::InputError&) {
      ++refused;
    }
  }
  testing::require(rows.list.size() > 1000, "too few texts");
  testing::require(refused <= most_refused * rows.list.size(), std::to_string(refused) + " are refused");
}

}  // namespace

int main(int, char** arguments) {
  const std::string made = arguments[1];
  testing::Suite suite;
  const Json hashes = testing::json_of(made + "/characters.json");
  const auto every = [&](const char* step, const std::function<std::u32string(char32_t)>& make) {
    suite.test(std::string("every character is ") + step + " as in Python", [&] { check_characters(hashes.at(step), make); });
  };
  every("cleaned", [](char32_t one) { return between(cleaned(one)); });
  every("apart", [](char32_t one) { return between(is_chinese(one) ? std::u32string{U' ', one, U' '} : std::u32string{one}); });
  every("bare", [](char32_t one) { return between(without_accents(one)); });
  every("lower", [](char32_t one) { return between(lowered(one)); });
  every("words", [](char32_t one) {
    if (is_space(one)) return std::u32string(U"a b");
    return between(is_punctuation(one) ? std::u32string{U' ', one, U' '} : std::u32string{one});
  });
  suite.test("random texts have the tokens of Python", [&] { check_random(made); });
  suite.test("random texts have the n-grams of Python", [&] {
    const Json rows = testing::json_of(made + "/random.json");
    for (const Json& row : rows.list) {
      const std::vector<std::uint64_t> keys = Ngrams::keys(codes_of(row.at("text").text).value(), 3);
      std::uint64_t sum = 0;
      for (const std::uint64_t key : keys) sum += key;
      char digits[20];
      std::snprintf(digits, sizeof digits, "%llx", static_cast<unsigned long long>(sum));
      const std::vector<Json>& expected = row.at("keys").list;
      testing::require(static_cast<double>(keys.size()) == expected[0].number && expected[1].text == digits, "other keys of " + row.at("text").text);
    }
  });
  suite.test("a word longer than a piece is cut where Python cuts it", [] {
    const std::u32string long_word(9000, U'x');
    testing::require(Ngrams::keys(long_word, 1).size() == 2 && Ngrams::keys(U"a " + long_word, 1).size() == 3, "cut elsewhere");
  });
  suite.test("what is not UTF-8 has no code points", [] {
    for (const char* text : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\x80"})
      testing::require(!codes_of(text), text);
    testing::require(utf8(codes_of("\xf0\x9f\x98\x80 \xc3\xa9").value()) == "\xf0\x9f\x98\x80 \xc3\xa9", "not given back");
  });
  suite.test("SHA-256 of a known text", [] {
    const std::string text = "abc";
    testing::require(Sha256::hex(Bytes(text.begin(), text.end())) ==
                         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                     "another hash");
  });
  return suite.ended();
}
