#include "engine/growth.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr size_t kMaxValues = 8;

void check_note(const std::string& group, const EditNote& note) {
  if (note.values.size() > kMaxValues) {
    fail(group, "edit note: got {} values, expected at most {}", note.values.size(), kMaxValues);
  }
}

void check_row(const GrowthGroup& group, std::string_view what, int64_t row) {
  if (row < 0 || row >= group.rows()) {
    fail(group.name(), "{}: got row {}, expected 0..{}", what, row, group.rows() - 1);
  }
}

void roll_back(std::vector<RowMember*>& members, size_t count, const RowChange& change) noexcept {
  while (count > 0) members[--count]->rollback(change);
}

}  // namespace

std::string_view to_string(RowChange::Kind kind) {
  switch (kind) {
    case RowChange::Kind::append:
      return "append";
    case RowChange::Kind::duplicate:
      return "duplicate";
    case RowChange::Kind::remove:
      return "remove";
    case RowChange::Kind::resize:
      return "resize";
  }
  return "unknown";
}

GrowthGroup::GrowthGroup(std::string name, int64_t rows) : name_(std::move(name)), next_id_(rows) {
  if (rows < 1) fail(name_, "rows: got {}, expected at least 1", rows);
  ids_.resize(static_cast<size_t>(rows));
  std::iota(ids_.begin(), ids_.end(), 0);
}

GrowthGroup::Membership::Membership(Membership&& other) noexcept
    : group_(std::exchange(other.group_, nullptr)),
      member_(std::exchange(other.member_, nullptr)) {}

GrowthGroup::Membership& GrowthGroup::Membership::operator=(Membership&& other) noexcept {
  std::swap(group_, other.group_);
  std::swap(member_, other.member_);
  return *this;
}

GrowthGroup::Membership::~Membership() {
  if (group_ != nullptr) std::erase(group_->members_, member_);
}

std::vector<int64_t> GrowthGroup::rows_by_age() const {
  std::vector<int64_t> order(ids_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [this](int64_t row) { return ids_[static_cast<size_t>(row)]; });
  return order;
}

std::optional<int64_t> GrowthGroup::row_of(int64_t id) const {
  const auto found = std::ranges::find(ids_, id);
  if (found == ids_.end()) return std::nullopt;
  return found - ids_.begin();
}

GrowthGroup::Membership GrowthGroup::join(RowMember& member) {
  if (member.rows() != rows()) {
    fail(name_, "member {}: got {} rows, expected {}", member.name(), member.rows(), rows());
  }
  if (std::ranges::find(members_, &member) != members_.end()) {
    fail(name_, "member {} joins a second time", member.name());
  }
  members_.push_back(&member);
  return Membership(*this, member);
}

int64_t GrowthGroup::append(int64_t count, const RowInit& init, const EditNote& note) {
  if (count < 1) fail(name_, "append: got {} rows, expected at least 1", count);
  check_note(name_, note);
  const int64_t first_id = next_id_;
  GrowthTransaction::Next next{ids_, next_id_ + count};
  for (int64_t id = first_id; id < next.next_id; ++id) {
    next.ids.push_back(id);
    next.added.push_back({RowChange::Kind::append, -1, id, note});
  }
  GrowthTransaction transaction;
  transaction.prepare(*this, {RowChange::Kind::append, rows(), rows(), rows() + count, &init},
                      std::move(next));
  transaction.commit();
  return first_id;
}

int64_t GrowthGroup::duplicate(int64_t source, const EditNote& note) {
  check_row(*this, "duplicate", source);
  check_note(name_, note);
  const int64_t id = next_id_, source_id = ids_[static_cast<size_t>(source)];
  GrowthTransaction::Next next{ids_, id + 1};
  next.ids.push_back(id);
  next.added.push_back({RowChange::Kind::duplicate, source_id, id, note});
  GrowthTransaction transaction;
  transaction.prepare(*this, {RowChange::Kind::duplicate, source, rows(), rows() + 1},
                      std::move(next));
  transaction.commit();
  return id;
}

void GrowthGroup::remove(int64_t row, const EditNote& note) {
  check_row(*this, "remove", row);
  check_note(name_, note);
  if (rows() == 1) fail(name_, "remove: got the only row, expected at least two");
  GrowthTransaction::Next next{ids_, next_id_};
  next.added.push_back({RowChange::Kind::remove, ids_[static_cast<size_t>(row)], -1, note});
  next.ids[static_cast<size_t>(row)] = next.ids.back();
  next.ids.pop_back();
  GrowthTransaction transaction;
  transaction.prepare(*this, {RowChange::Kind::remove, row, rows(), rows() - 1}, std::move(next));
  transaction.commit();
}

GrowthTransaction::~GrowthTransaction() {
  for (; !prepared_.empty(); prepared_.pop_back()) {
    Prepared& last = prepared_.back();
    roll_back(last.group->members_, last.group->members_.size(), last.change);
  }
}

void GrowthTransaction::prepare(GrowthGroup& group, const RowChange& change, Next next) {
  const bool twice =
      std::ranges::any_of(prepared_, [&](const Prepared& p) { return p.group == &group; });
  OFFSHOOT_CHECK(!twice, "group {} changes twice in one transaction", group.name());
  // All that allocates comes before the members, so that nothing fails after them.
  prepared_.reserve(prepared_.size() + 1);
  group.log_.reserve(group.log_.size() + next.added.size());
  size_t count = 0;
  try {
    for (; count < group.members_.size(); ++count) group.members_[count]->prepare(change);
  } catch (...) {
    roll_back(group.members_, count, change);
    throw;
  }
  prepared_.push_back({&group, change, std::move(next)});
}

void GrowthTransaction::prepare_restore(GrowthGroup& group, std::vector<int64_t> ids,
                                        int64_t next_id, std::vector<Edit> log) {
  std::vector<int64_t> sorted = ids;
  std::ranges::sort(sorted);
  const bool distinct = std::ranges::adjacent_find(sorted) == sorted.end();
  if (sorted.empty() || !distinct || sorted.front() < 0 || sorted.back() >= next_id) {
    fail(group.name(), "ids: got {} of them, expected distinct ones in [0, {})", ids.size(),
         next_id);
  }
  const auto rows_after = static_cast<int64_t>(ids.size());
  Next next{std::move(ids), next_id, {}, std::move(log)};
  prepare(group, {RowChange::Kind::resize, 0, group.rows(), rows_after}, std::move(next));
}

void GrowthTransaction::commit() noexcept {
  for (Prepared& p : prepared_) {
    for (RowMember* member : p.group->members_) member->commit(p.change);
    p.group->ids_.swap(p.next.ids);
    p.group->next_id_ = p.next.next_id;
    if (p.next.replaced) p.group->log_.swap(*p.next.replaced);
    for (Edit& edit : p.next.added) p.group->log_.push_back(std::move(edit));
    ++p.group->generation_;
  }
  prepared_.clear();
}

}  // namespace offshoot
