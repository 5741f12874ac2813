#include "tools/hmm/study/runner.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <map>
#include <span>
#include <utility>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/parallel.h"
#include "engine/xxh3.h"
#include "tools/support/interrupt.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "study";
constexpr int kPollMilliseconds = 200;
constexpr size_t kNamedFailures = 3;

// A child's words: how many steps it has done, its result, what went wrong; a line each.
constexpr char kSteps = 's', kResult = 'r', kError = 'e';

std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

void say(int pipe, char what, const std::string& text) {
  const std::string line = fmt::format("{}{}\n", what, one_line(text));
  for (size_t done = 0; done < line.size();) {
    const ssize_t count = ::write(pipe, line.data() + done, line.size() - done);
    if (count < 0 && errno != EINTR) ::_exit(1);
    if (count > 0) done += static_cast<size_t>(count);
  }
}

[[noreturn]] void be_child(int pipe, pid_t parent, const Trial& trial,
                           const TrialFunction& function) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it died before that
  ::signal(SIGINT, SIG_IGN);              // of the terminal, to all of us: the parent decides
  ::signal(SIGTERM, SIG_DFL);
  try {
    set_num_threads(1);
    const auto progress = [&](int64_t steps) { say(pipe, kSteps, fmt::format("{}", steps)); };
    say(pipe, kResult, to_json(function(trial, progress)).dump(-1, Json::NonFinite::as_null));
    ::_exit(0);
  } catch (const std::exception& error) {
    say(pipe, kError, error.what());
    ::_exit(1);
  }
}

}  // namespace

struct Runner::Child {
  const Trial* trial;
  size_t index;
  std::string key;
  pid_t process;
  FileDescriptor pipe;
  int64_t steps = 0;
  int64_t all_steps = 0, reused = 0;
  std::string unread = {};  // of a line that has not ended
  std::string result = {};
  std::string error = {};
  bool silent = false;  // has closed its end
};

Runner::Runner(RunnerOptions options, std::FILE* stream, TrialFunction function)
    : options_(std::move(options)), stream_(stream), function_(std::move(function)) {
  if (options_.jobs < 1) fail(kName, "jobs: got {}, expected at least 1", options_.jobs);
  if (options_.folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(options_.folder, error);
  if (error) {
    fail(kName, "{}: cannot be made: {}", options_.folder, describe_errno(error.value()));
  }
}

Runner::~Runner() { kill_all(); }

std::vector<StudyRun> Runner::run(const std::vector<Trial>& trials) {
  std::vector<StudyRun> results(trials.size());
  results_ = &results;
  failures_.clear();
  trials_known_ = std::ssize(trials);
  trials_done_ = steps_done_ = 0;
  std::vector<size_t> waiting;
  std::map<std::string, size_t> first;  // trial with that key
  std::vector<size_t> twin(trials.size());
  std::vector<std::string> keys;
  std::vector<int64_t> steps;
  int64_t all_steps = 0, reused = 0;
  for (size_t i = 0; i < trials.size(); ++i) {
    keys.push_back(key_of(trials[i]).dump());
    steps.push_back(config_of(trials[i]).steps);
    all_steps += steps[i];
    twin[i] = first.emplace(keys[i], i).first->second;
    if (twin[i] == i && !reuse(keys[i], results[i])) {
      waiting.push_back(i);
      continue;
    }
    if (twin[i] == i) ++reused;
    steps_done_ += steps[i];
    ++trials_done_;
  }
  progress_ = std::make_unique<Progress>(stream_, Terminal(stream_), all_steps, steps_done_);
  if (reused > 0) {
    progress_->event(fmt::format("{} of {} runs are there already", reused, std::ssize(first)));
  }
  for (auto next = waiting.begin(); next != waiting.end() || !children_.empty();) {
    while (next != waiting.end() && std::ssize(children_) < options_.jobs) {
      start(trials[*next], *next, keys[*next], steps[*next]);
      ++next;
    }
    wait_for_news();
    if (InterruptGuard::interrupted()) {
      kill_all();
      throw Interrupted{};
    }
  }
  progress_->finish();
  for (size_t i = 0; i < trials.size(); ++i) results[i] = results[twin[i]];
  if (failures_.empty()) return results;
  std::string named;  // every one has had a line of its own already
  for (size_t i = 0; i < std::min(failures_.size(), kNamedFailures); ++i) {
    named += fmt::format("{}{}", i == 0 ? "" : "; ", failures_[i]);
  }
  fail(kName, "{} of {} runs failed: {}{}", failures_.size(), trials.size(), named,
       failures_.size() > kNamedFailures ? "; ..." : "");
}

namespace {

std::string file_of(const std::string& folder, const std::string& key) {
  return fmt::format("{}/{}.json", folder, to_string(xxh3(std::as_bytes(std::span(key)))));
}

}  // namespace

bool Runner::reuse(const std::string& key, StudyRun& run) const {
  if (options_.folder.empty()) return false;
  const std::string file = file_of(options_.folder, key);
  if (!std::filesystem::exists(file)) return false;
  try {
    const Json kept = Json::read_file(file);
    if (kept.at("key").dump() != key) return false;
    run = study_run_from_json(kept.at("run"));
    return true;
  } catch (const Error& error) {
    fmt::print(stream_, "{}: run again\n", error.what());
    return false;
  }
}

void Runner::start(const Trial& trial, size_t index, const std::string& key, int64_t steps) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(kName, "no pipe: {}", describe_errno(errno));
  FileDescriptor from_child(ends[0]);
  const FileDescriptor to_parent(ends[1]);
  const pid_t parent = ::getpid(), process = ::fork();
  if (process < 0) fail(kName, "no process: {}", describe_errno(errno));
  if (process == 0) be_child(ends[1], parent, trial, function_);
  children_.push_back({&trial, index, key, process, std::move(from_child), 0, steps});
}

void Runner::wait_for_news() {
  std::vector<pollfd> ready;
  for (const Child& child : children_) ready.push_back({child.pipe.get(), POLLIN, 0});
  if (::poll(ready.data(), ready.size(), kPollMilliseconds) <= 0) return;
  for (size_t i = 0; i < ready.size(); ++i) {
    if (ready[i].revents != 0) hear(children_[i]);
  }
  for (Child& child : children_) {
    if (child.silent) end(child);
  }
  std::erase_if(children_, [](const Child& child) { return child.silent; });
  show();
}

void Runner::hear(Child& child) {
  std::array<char, 65536> buffer;
  const ssize_t count = ::read(child.pipe.get(), buffer.data(), buffer.size());
  if (count < 0 && errno == EINTR) return;
  if (count <= 0) {
    child.silent = true;
    return;
  }
  child.unread.append(buffer.data(), static_cast<size_t>(count));
  for (size_t end; (end = child.unread.find('\n')) != std::string::npos;) {
    const std::string text = child.unread.substr(1, end - 1);
    const char what = child.unread.front();
    child.unread.erase(0, end + 1);
    if (what == kSteps) child.steps = std::stoll(text);
    if (what == kResult) child.result = text;
    if (what == kError) child.error = text;
  }
}

void Runner::end(Child& child) {
  int status = 0;
  while (::waitpid(child.process, &status, 0) < 0 && errno == EINTR) {
  }
  child.process = -1;
  steps_done_ += child.all_steps;
  ++trials_done_;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !child.result.empty()) {
    const Json run = Json::parse(child.result, child.trial->name());
    (*results_)[child.index] = study_run_from_json(run);
    if (options_.folder.empty()) return;
    const Json kept = Json::object({{"key", Json::parse(child.key)}, {"run", run}});
    write_file(file_of(options_.folder, child.key), kept.dump(-1, Json::NonFinite::as_null) + '\n');
    return;
  }
  if (child.error.empty()) {
    child.error = WIFSIGNALED(status) ? fmt::format("ended by signal {}", WTERMSIG(status))
                                      : fmt::format("ended with {}", WEXITSTATUS(status));
  }
  failures_.push_back(fmt::format("{}: {}", child.trial->name(), child.error));
  progress_->event(failures_.back());
}

void Runner::kill_all() {
  for (const Child& child : children_) {
    if (child.process <= 0) continue;
    ::kill(child.process, SIGKILL);
    while (::waitpid(child.process, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  children_.clear();
}

void Runner::show() {
  int64_t steps = steps_done_;
  for (const Child& child : children_) steps += child.steps;
  progress_->update(steps, fmt::format("runs {}/{}", trials_done_, trials_known_));
}

}  // namespace offshoot
