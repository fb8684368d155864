// SHA-256 (FIPS 180-4).

#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace gearshift::detail {

using Bytes = std::vector<std::uint8_t>;

class Sha256 {
 public:
  static std::string hex(const Bytes& content) {
    Sha256 hash;
    const std::size_t whole = content.size() / 64 * 64;
    for (std::size_t at = 0; at < whole; at += 64) hash.block(content.data() + at);
    Bytes last(content.begin() + static_cast<std::ptrdiff_t>(whole), content.end());
    last.push_back(0x80);
    while (last.size() % 64 != 56) last.push_back(0);
    const std::uint64_t bits = static_cast<std::uint64_t>(content.size()) * 8;
    for (int shift = 56; shift >= 0; shift -= 8) last.push_back(static_cast<std::uint8_t>(bits >> shift));
    for (std::size_t at = 0; at < last.size(); at += 64) hash.block(last.data() + at);
    std::string made;
    for (const std::uint32_t word : hash.state_) {
      char digits[9];
      std::snprintf(digits, sizeof digits, "%08x", static_cast<unsigned>(word));
      made += digits;
    }
    return made;
  }

 private:
  static std::uint32_t turned(std::uint32_t word, int by) { return word >> by | word << (32 - by); }

  void block(const std::uint8_t* data) {
    static constexpr std::array<std::uint32_t, 64> k = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
        0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
        0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
        0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
        0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
        0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
        0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};
    std::array<std::uint32_t, 64> w;
    for (int at = 0; at < 16; ++at)
      w[at] = std::uint32_t{data[4 * at]} << 24 | std::uint32_t{data[4 * at + 1]} << 16 |
              std::uint32_t{data[4 * at + 2]} << 8 | data[4 * at + 3];
    for (int at = 16; at < 64; ++at) {
      const std::uint32_t small = turned(w[at - 15], 7) ^ turned(w[at - 15], 18) ^ w[at - 15] >> 3;
      const std::uint32_t large = turned(w[at - 2], 17) ^ turned(w[at - 2], 19) ^ w[at - 2] >> 10;
      w[at] = w[at - 16] + small + w[at - 7] + large;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (int at = 0; at < 64; ++at) {
      const std::uint32_t one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + k[at] + w[at];
      const std::uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    const std::array<std::uint32_t, 8> more = {a, b, c, d, e, f, g, h};
    for (int at = 0; at < 8; ++at) state_[at] += more[at];
  }

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

}  // namespace gearshift::detail
