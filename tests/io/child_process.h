#pragma once
// Runs a part of a test in a process of its own, where limits and filters can be set for good.

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

namespace sluice::test {

/// What `body` returned in the child: empty for success. A child that died is reported as such.
inline std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) return "pipe failed";
  const pid_t child = ::fork();
  if (child < 0) return "fork failed";
  if (child == 0) {
    const std::string verdict = body();
    const bool told =
        ::write(ends[1], verdict.data(), verdict.size()) == static_cast<ssize_t>(verdict.size());
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string verdict;
  char block[512];
  for (ssize_t got = 0; (got = ::read(ends[0], block, sizeof block)) > 0;) {
    verdict.append(block, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int how = 0;
  ::waitpid(child, &how, 0);
  if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
    verdict += " (the child ended with " + std::to_string(how) + ")";
  return verdict;
}

}  // namespace sluice::test
