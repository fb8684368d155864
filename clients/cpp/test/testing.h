// Checks of the tests, and what `python -m tests.clients.prepare` made.

#pragma once

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>

#include "gearshift/gearshift.h"
#include "json.h"

namespace testing {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const std::string& what) {
  if (!holds) throw Failure(what);
}

inline void close(double found, double expected, double tolerance, const std::string& what) {
  require(std::abs(found - expected) <= tolerance,
          what + ": expected " + std::to_string(expected) + ", found " + std::to_string(found));
}

// Require an error of this name, whose message a pattern finds something in.
inline void refused(const std::string& name, const std::string& pattern, const std::function<void()>& call) {
  try {
    call();
  } catch (const gearshift::Error& error) {
    require(error.name() == name, "expected " + name + ", found " + error.name() + ": " + error.what());
    require(std::regex_search(error.what(), std::regex(pattern)), std::string("other words: ") + error.what());
    return;
  }
  throw Failure("expected " + name + " (" + pattern + "), found no error");
}

inline std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), path + ": missing; run python -m tests.clients.prepare");
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

inline gearshift::detail::Json json_of(const std::string& path) { return gearshift::detail::JsonReader::read(content_of(path)); }

// Runs tests and tells of each.
class Suite {
 public:
  void test(const std::string& name, const std::function<void()>& run) {
    try {
      run();
      ++passed_;
      std::printf("ok %s\n", name.c_str());
    } catch (const std::exception& error) {
      ++failed_;
      std::printf("FAILED %s: %s\n", name.c_str(), error.what());
    }
  }
  // 0 if all passed, and there were some.
  int ended() const {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ == 0 && passed_ > 0 ? 0 : 1;
  }

 private:
  int passed_ = 0, failed_ = 0;
};

}  // namespace testing
