// Tokenizer of a bundle: WordPiece after BertNormalizer, as the `tokenizers` package does it.
//
// Tokenizers with other parts are refused, as their tokens could differ unseen.

#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gearshift/gearshift.h"
#include "json.h"
#include "unicode.h"
#include "words.h"

namespace gearshift::detail {

// Tokens of one text or pair. A place is the start and end of a token's characters in its part, in code points.
struct Encoding {
  std::vector<std::int64_t> ids, types;
  std::vector<std::pair<std::size_t, std::size_t>> places;
  bool cut = false;
};

class Tokenizer {
 public:
  Tokenizer(const Json& json, std::string where, int max_length) : where_(std::move(where)), max_length_(max_length) {
    check_parts(json);
    try {
      read(json);
    } catch (const Error&) {
      throw;
    } catch (const std::runtime_error& error) {
      throw SchemaError(where_ + ": not a tokenizer that can be read (" + error.what() + "); export the bundle again");
    }
  }

  // Whether the beginning of a text is cut off, in place of its end.
  bool cuts_beginning() const { return cuts_beginning_; }

  // Tokens of one or two texts, cut to the longest that the model reads; raises InputError for marks that Python orders
  // otherwise.
  Encoding encode(const std::vector<std::u32string>& parts) const {
    std::vector<std::vector<Token>> texts;
    for (const std::u32string& part : parts) texts.push_back(tokens(part));
    const std::vector<Slot>& slots = templates_[parts.size() - 1];
    std::size_t special = 0;
    for (const Slot& slot : slots) special += slot.ids.size();
    const auto longest = static_cast<std::size_t>(max_length_);
    Encoding made;
    made.cut = cut(texts, longest > special ? longest - special : 0);
    for (const Slot& slot : slots) {
      for (const std::int64_t id : slot.ids) add(made, {id, 0, 0}, slot.type);
      if (slot.sequence < texts.size())
        for (const Token& token : texts[slot.sequence]) add(made, token, slot.type);
    }
    return made;
  }

 private:
  struct Token {
    std::int64_t id;
    std::size_t start, end;
  };
  struct Character {
    char32_t code;
    std::size_t place;
  };
  using Characters = std::vector<Character>;
  struct AddedToken {
    std::int64_t id;
    std::u32string content;
    bool lstrip, rstrip;
  };
  struct Slot {
    std::vector<std::int64_t> ids;
    std::size_t sequence;  // of a text; `none` for special tokens
    std::int64_t type;
  };
  static constexpr std::size_t none = 9;

  void check_parts(const Json& json) const {
    const auto check = [&](const char* what, const char* field, const std::vector<std::string>& known) {
      const Json* part = json.is(Json::Kind::object) ? json.given(field) : nullptr;
      const Json* type = part != nullptr && part->is(Json::Kind::object) ? part->given("type") : nullptr;
      const std::string found = type == nullptr ? "none" : type->text;
      if (std::count(known.begin(), known.end(), found)) return;
      throw SchemaError(where_ + ": expected a tokenizer of an encoder, found " + what + " " + repr(found) +
                        ", of which this client knows " + joined(known) + "; use the Python engine for this bundle");
    };
    check("a normalizer", "normalizer", {"none", "BertNormalizer"});
    check("a pre_tokenizer", "pre_tokenizer", {"BertPreTokenizer"});
    check("a model", "model", {"WordPiece"});
    check("a post_processor", "post_processor", {"TemplateProcessing", "BertProcessing"});
  }

  void read(const Json& json) {
    const Json& model = json.at("model");
    for (const auto& [piece, id] : model.at("vocab").as_object()) vocabulary_[piece] = static_cast<std::int64_t>(id.as_number());
    const std::string& unknown = model.at("unk_token").as_text();
    if (!vocabulary_.count(unknown)) throw std::runtime_error("no piece " + repr(unknown));
    unknown_ = vocabulary_[unknown];
    if (const Json* prefix = model.given("continuing_subword_prefix")) prefix_ = prefix->as_text();
    if (const Json* most = model.given("max_input_chars_per_word")) longest_word_ = static_cast<std::size_t>(most->as_number());
    if (const Json* own = json.given("normalizer")) {
      const auto option = [&](const char* name, bool otherwise) {
        const Json* found = own->given(name);
        return found == nullptr ? otherwise : found->as_boolean();
      };
      lowers_ = option("lowercase", true);
      strips_ = option("strip_accents", lowers_);
      cleans_ = option("clean_text", true);
      separates_ = option("handle_chinese_chars", true);
    }
    if (const Json* added = json.given("added_tokens"))
      for (const Json& one : added->as_list()) read_added(one);
    if (const Json* truncation = json.given("truncation")) {
      const Json* direction = truncation->given("direction");
      cuts_beginning_ = direction != nullptr && direction->text == "Left";
    }
    read_templates(json.at("post_processor"));
  }

  void read_added(const Json& one) {
    if (one.at("single_word").as_boolean())
      throw SchemaError(where_ + ": found an added token of whole words, " + repr(one.at("content").as_text()) +
                        ", which this client does not read as Python does; use the Python engine for this bundle");
    const auto content = codes_of(one.at("content").as_text());
    if (!content) throw std::runtime_error("an added token that is not valid Unicode");
    AddedToken token{static_cast<std::int64_t>(one.at("id").as_number()), *content, one.at("lstrip").as_boolean(),
                     one.at("rstrip").as_boolean()};
    if (!one.at("normalized").as_boolean()) {
      raw_.push_back(token);
      return;
    }
    std::u32string normalized;
    for (const Character& character : normalize(characters_of(token.content))) normalized += character.code;
    token.content = normalized;
    normalized_.push_back(token);
  }

  void read_templates(const Json& json) {
    const auto text = [](std::size_t sequence, std::int64_t type) { return Slot{{}, sequence, type}; };
    if (json.at("type").as_text() == "BertProcessing") {
      const auto end = [&](const char* name, std::int64_t type) {
        return Slot{{static_cast<std::int64_t>(json.at(name).as_list().at(1).as_number())}, none, type};
      };
      templates_[0] = {end("cls", 0), text(0, 0), end("sep", 0)};
      templates_[1] = {end("cls", 0), text(0, 0), end("sep", 0), text(1, 1), end("sep", 1)};
      return;
    }
    for (const std::size_t which : {0, 1}) {
      for (const Json& piece : json.at(which == 0 ? "single" : "pair").as_list()) {
        if (const Json* special = piece.find("SpecialToken")) {
          Slot slot{{}, none, static_cast<std::int64_t>(special->at("type_id").as_number())};
          for (const Json& id : json.at("special_tokens").at(special->at("id").as_text()).at("ids").as_list())
            slot.ids.push_back(static_cast<std::int64_t>(id.as_number()));
          templates_[which].push_back(slot);
        } else {
          const Json& sequence = piece.at("Sequence");
          templates_[which].push_back(
              text(sequence.at("id").as_text() == "A" ? 0 : 1, static_cast<std::int64_t>(sequence.at("type_id").as_number())));
        }
      }
    }
  }

  static void add(Encoding& made, const Token& token, std::int64_t type) {
    made.ids.push_back(token.id);
    made.types.push_back(type);
    made.places.emplace_back(token.start, token.end);
  }

  static Characters characters_of(const std::u32string& text) {
    Characters made;
    for (std::size_t place = 0; place < text.size(); ++place) made.push_back({text[place], place});
    return made;
  }

  template <typename Step>
  static Characters taken(Step step, const Characters& characters) {
    Characters made;
    for (const Character& one : characters)
      for (const char32_t code : step(one.code)) made.push_back({code, one.place});
    return made;
  }

  Characters normalize(Characters characters) const {
    if (cleans_) characters = taken(cleaned, characters);
    if (separates_)
      characters = taken([](char32_t code) { return is_chinese(code) ? std::u32string{U' ', code, U' '} : std::u32string{code}; },
                         characters);
    if (strips_) {
      std::u32string text;
      for (const Character& one : characters) text += one.code;
      if (reorders(text))
        throw InputError("marks in an order that this client does not read as Python does; expected text without such marks");
      characters = taken(without_accents, characters);
    }
    return lowers_ ? taken(lowered, characters) : characters;
  }

  // Pieces of a text at added tokens, the leftmost first, of several the longest: `token` of one, or `text` of the rest.
  template <typename OnToken, typename OnText>
  static void split(const Characters& characters, const std::vector<AddedToken>& added, OnToken token, OnText text) {
    std::size_t begun = 0;
    const auto rest = [&](std::size_t from, std::size_t to) {
      if (to > from) text(Characters(characters.begin() + static_cast<std::ptrdiff_t>(from),
                                     characters.begin() + static_cast<std::ptrdiff_t>(to)));
    };
    for (std::size_t start = 0; start < characters.size();) {
      const AddedToken* found = longest_at(characters, start, added);
      if (found == nullptr) {
        ++start;
        continue;
      }
      std::size_t from = start, to = start + found->content.size();
      if (found->lstrip)
        while (from > begun && is_space(characters[from - 1].code)) --from;
      if (found->rstrip)
        while (to < characters.size() && is_space(characters[to].code)) ++to;
      rest(begun, from);
      token(Token{found->id, characters[from].place, characters[to - 1].place + 1});
      begun = start = to;
    }
    rest(begun, characters.size());
  }

  static const AddedToken* longest_at(const Characters& characters, std::size_t start, const std::vector<AddedToken>& added) {
    const AddedToken* best = nullptr;
    for (const AddedToken& token : added) {
      const std::size_t size = token.content.size();
      if (size == 0 || size > characters.size() - start || (best != nullptr && size <= best->content.size())) continue;
      bool same = true;
      for (std::size_t place = 0; same && place < size; ++place) same = characters[start + place].code == token.content[place];
      if (same) best = &token;
    }
    return best;
  }

  std::vector<Token> tokens(const std::u32string& text) const {
    std::vector<Token> found;
    const auto token = [&](const Token& one) { found.push_back(one); };
    split(characters_of(text), raw_, token, [&](const Characters& part) {
      split(normalize(part), normalized_, token, [&](const Characters& rest) { add_words(rest, found); });
    });
    return found;
  }

  // White space ends words, and each mark of punctuation is one.
  void add_words(const Characters& characters, std::vector<Token>& found) const {
    Characters word;
    const auto end = [&] {
      if (!word.empty()) add_pieces(word, found);
      word.clear();
    };
    for (const Character& one : characters) {
      const bool space = is_space(one.code), mark = !space && is_punctuation(one.code);
      if (space || mark) end();
      if (!space) word.push_back(one);
      if (mark) end();
    }
    end();
  }

  void add_pieces(const Characters& word, std::vector<Token>& found) const {
    const std::size_t before = found.size(), size = word.size();
    const auto unknown = [&] {
      found.resize(before);
      found.push_back({unknown_, word.front().place, word.back().place + 1});
    };
    if (size > longest_word_) return unknown();
    for (std::size_t start = 0; start < size;) {
      std::size_t end = size;
      auto piece = vocabulary_.end();
      for (; end > start; --end) {
        std::string text = start > 0 ? prefix_ : "";
        for (std::size_t place = start; place < end; ++place) append(text, word[place].code);
        piece = vocabulary_.find(text);
        if (piece != vocabulary_.end()) break;
      }
      if (piece == vocabulary_.end()) return unknown();
      found.push_back({piece->second, word[start].place, word[end - 1].place + 1});
      start = end;
    }
  }

  // Cut one or two texts to `room` tokens together, as `tokenizers` does: a pair longest first. Returns whether it did.
  bool cut(std::vector<std::vector<Token>>& texts, std::size_t room) const {
    const std::size_t first = texts[0].size(), second = texts.size() > 1 ? texts[1].size() : 0;
    if (first + second <= room) return false;
    if (texts.size() == 1) return keep(texts[0], room), true;
    std::size_t small = std::min(first, second), large = std::max(first, second);
    large = small > room ? small : std::max(small, room - small);
    if (small + large > room) {
      small = room / 2;
      large = small + room % 2;
    }
    keep(texts[0], first > second ? large : small);
    keep(texts[1], first > second ? small : large);
    return true;
  }

  void keep(std::vector<Token>& tokens, std::size_t count) const {
    if (count >= tokens.size()) return;
    if (cuts_beginning_) tokens.erase(tokens.begin(), tokens.end() - static_cast<std::ptrdiff_t>(count));
    else tokens.resize(count);
  }

  std::string where_;
  int max_length_;
  bool cuts_beginning_ = false, lowers_ = false, strips_ = false, cleans_ = false, separates_ = false;
  std::unordered_map<std::string, std::int64_t> vocabulary_;
  std::int64_t unknown_ = 0;
  std::string prefix_ = "##";
  std::size_t longest_word_ = 100;
  std::vector<AddedToken> raw_, normalized_;
  std::vector<Slot> templates_[2];
};

}  // namespace gearshift::detail
