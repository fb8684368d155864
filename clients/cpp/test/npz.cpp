// The reader of selftest.npz: headers that lie, and bytes changed at random, end in an error and never elsewhere.

#include <random>

#include "npz.h"
#include "testing.h"

using namespace gearshift::detail;
using testing::require;

namespace {

void put(Bytes& content, std::size_t value, int bytes) {
  for (int place = 0; place < bytes; ++place) content.push_back(static_cast<std::uint8_t>(value >> (8 * place)));
}

Bytes npy(const std::string& header, const Bytes& data, int version = 1) {
  Bytes made = {0x93, 'N', 'U', 'M', 'P', 'Y', static_cast<std::uint8_t>(version), 0};
  put(made, header.size(), version == 1 ? 2 : 4);
  made.insert(made.end(), header.begin(), header.end());
  made.insert(made.end(), data.begin(), data.end());
  return made;
}

// An archive of one array x, stored.
Bytes archive(const Bytes& array, std::size_t method = 0, std::size_t claimed = 0) {
  const std::string name = "x.npy";
  Bytes made;
  put(made, 0x04034b50, 4);
  for (const auto& [value, bytes] : std::vector<std::pair<std::size_t, int>>{
           {20, 2}, {0, 2}, {method, 2}, {0, 4}, {0, 4}, {array.size(), 4}, {claimed, 4}, {name.size(), 2}, {0, 2}})
    put(made, value, bytes);
  made.insert(made.end(), name.begin(), name.end());
  made.insert(made.end(), array.begin(), array.end());
  const std::size_t directory = made.size();
  put(made, 0x02014b50, 4);
  for (const auto& [value, bytes] : std::vector<std::pair<std::size_t, int>>{
           {20, 2}, {20, 2}, {0, 2}, {method, 2}, {0, 4}, {0, 4}, {array.size(), 4}, {claimed, 4}, {name.size(), 2}, {0, 2},
           {0, 2}, {0, 2}, {0, 2}, {0, 4}, {0, 4}})
    put(made, value, bytes);
  made.insert(made.end(), name.begin(), name.end());
  const std::size_t length = made.size() - directory;
  put(made, 0x06054b50, 4);
  for (const auto& [value, bytes] :
       std::vector<std::pair<std::size_t, int>>{{0, 4}, {1, 2}, {1, 2}, {length, 4}, {directory, 4}, {0, 2}})
    put(made, value, bytes);
  return made;
}

std::string described(const std::string& type, const std::string& shape) {
  return "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }\n";
}

std::string fault(const Bytes& content) {
  try {
    Npz(content).array("x");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

void check_whole() {
  const Bytes four = {0, 0, 128, 63, 0, 0, 0, 64};
  const Bytes content = archive(npy(described("<f4", "1, 2"), four));
  const NumberArray array = Npz(content).array("x");
  require(array.shape == std::vector<std::int64_t>{1, 2} && array.floats == std::vector<float>{1, 2}, "other numbers");
  const Bytes long_header = archive(npy(described("<i8", "1,"), four, 2));
  require(Npz(long_header).array("x").integers.size() == 1, "another count");
  const Bytes text = archive(npy(described("<U2", "1,"), {97, 0, 0, 0, 0, 0, 0, 0}));
  require(Npz(text).array("x").texts[0] == U"a", "another text");
  const Bytes one = archive(npy(described("<f4", ""), {0, 0, 128, 63}));
  require(Npz(one).array("x").shape.empty() && Npz(one).array("x").floats.size() == 1, "a number alone");
}

void check_lies() {
  const Bytes four(4, 0);
  const std::string size = "an array of another size", type = "an array of another type", cut = "not a whole array";
  const std::vector<std::pair<Bytes, std::string>> cases = {
      {npy(described("<f4", "4294967296, 4294967296"), {}), size},
      {npy(described("<f4", "9223372036854775807"), four), size},
      {npy(described("<f4", std::string(5000, '9')), four), size},
      {npy(described("<f4", "4611686018427387905,"), four), size},
      {npy(described("<f4", "65536, 65536, 65536, 65536"), {}), size},
      {npy(described("<f4", "2,"), four), size},
      {npy(described("<U99999999999999999999", "1,"), four), size},
      {npy(described("<U1073741825", "1,"), four), size},
      {npy(described("<U0", "9,"), {}), "texts without a character"},
      {npy(described("<U", "1,"), four), type},
      {npy(described("<f8", "1,"), four), type},
      {npy(described("|O", "1,"), four), type},
      {npy(described("<f4", "-1,"), four), type},
      {npy(described("<f4", "1 2"), four), type},
      {npy(described("<f4", "1;"), four), type},
      {npy("{'descr': '<f4", four), type},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1", four), type},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", four), type},
      {npy("", four), type},
      {npy(described("<f4", std::string(1 << 24, ' ')), {}, 2), cut},
      {Bytes(12, 0), cut},
      {npy(described("<f4", "1,"), {}), size},
      {{}, cut},
  };
  for (std::size_t number = 0; number < cases.size(); ++number) {
    const std::string found = fault(archive(cases[number].first));
    require(found == cases[number].second, "case " + std::to_string(number) + ": " + found);
  }
  Bytes claims = npy(described("<f4", "1,"), four);
  claims[8] = claims[9] = 255;
  require(fault(archive(claims)) == cut, "a header that claims to be longer than its array");
  require(fault(archive({3, 0}, 8, 1 << 27)) == size, "two bytes that claim to be many");
  require(fault(archive({3, 0}, 12)) == "a compression of another kind", "another compression");
}

// Change some bytes of an archive at random: arrays are of the size that their shape says, or there is an error.
int fuzzed(Bytes content, const std::string& name, std::mt19937& source) {
  const auto below = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most - 1)(source); };
  const std::size_t changes = 1 + below(4);
  for (std::size_t change = 0; change < changes; ++change) {
    const std::size_t near = below(3) == 0 ? content.size() : std::min<std::size_t>(content.size(), 400);
    const std::size_t at = below(2) ? below(near) : content.size() - 1 - below(near);
    content[at] = static_cast<std::uint8_t>(below(256));
  }
  if (below(8) == 0) content.resize(below(content.size()));
  try {
    const NumberArray array = Npz(content).array(name);
    std::size_t count = 1;
    for (const std::int64_t size : array.shape) count *= static_cast<std::size_t>(size);
    require(array.floats.size() + array.integers.size() + array.texts.size() == count, "another count than its shape says");
    return 1;
  } catch (const std::runtime_error& error) {
    require(dynamic_cast<const testing::Failure*>(&error) == nullptr, error.what());
    return 0;
  }
}

}  // namespace

int main(int, char** arguments) {
  testing::Suite suite;
  suite.test("arrays are read as numpy writes them", check_whole);
  suite.test("a header that lies is one error", check_lies);
  suite.test("bytes changed at random give an array or an error", [&] {
    const std::string made = arguments[1];
    const std::string real = testing::content_of(made + "/dan.gearshift/selftest.npz");
    const Bytes packed(real.begin(), real.end());
    const Bytes stored = archive(npy(described("<f4", "2, 2"), Bytes(16, 1)));
    const Bytes texts = archive(npy(described("<U2", "2, 1"), Bytes(16, 97)));
    std::mt19937 source(1);
    int read = 0;
    const int rounds = 3000;
    for (int round = 0; round < rounds; ++round)
      for (const auto& [content, name] : {std::pair(&stored, "x"), {&texts, "x"}, {&packed, "input_ids"}, {&packed, "texts.fp32.dan"}})
        read += fuzzed(*content, name, source);
    require(read > rounds / 10 && read < 4 * rounds - rounds / 10, std::to_string(read) + " were read");
  });
  return suite.ended();
}
