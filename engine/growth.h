// Growth: the rows of many tensors appear and vanish together, or not at all.
//
// An expert is one row of each of its tensors: weights, biases, gate row, their gradients, the
// optimizer's moments, the detector's windows. Whatever keeps one row per expert is a RowMember and
// joins the expert pool's GrowthGroup. A change of the group has two phases:
//   prepare   every member makes ready what can fail (memory, limits), visible to nobody;
//   commit    every member shows its new state; nothing can fail any more.
// If a member's prepare throws, the members before it roll back, in reverse, and the group is bit
// for bit what it was.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tensor.h"

namespace offshoot {

// Writes the first contents of appended rows, `rows` [count, ...], of the member called `member`.
// Rows it leaves alone are zero.
using RowInit = std::function<void(std::string_view member, const Tensor& rows)>;

struct RowChange {
  enum class Kind {
    append,     // new last rows, from `init`
    duplicate,  // a new last row, from row `row`
    remove,     // row `row` goes, the last one takes its place
    resize,     // as many rows as a checkpoint holds; their contents follow
  };
  Kind kind;
  int64_t row;
  int64_t rows_before;
  int64_t rows_after;
  const RowInit* init = nullptr;
};

class RowMember {
 public:
  virtual ~RowMember() = default;
  virtual std::string_view name() const = 0;
  virtual int64_t rows() const = 0;
  // May throw Error, and then has changed nothing. Effects stay invisible until commit().
  virtual void prepare(const RowChange& change) = 0;
  virtual void commit(const RowChange& change) noexcept = 0;
  virtual void rollback(const RowChange& change) noexcept = 0;
};

// Why a change is made: what the edit log keeps beside it.
struct EditNote {
  int64_t step = -1;                                        // the training step; -1: outside of one
  std::string policy = {};                                  // who decided, e.g. "mass"
  std::vector<std::pair<std::string, double>> values = {};  // at most 8, e.g. {"p_value", 0.004}
};

// One line of the log. Ids are for life; -1 where there is none.
struct Edit {
  RowChange::Kind kind;
  int64_t source_id;  // duplicate: the parent. remove: the one that went
  int64_t new_id;     // append, duplicate: the newborn (one line each)
  EditNote note;
};

std::string_view to_string(RowChange::Kind kind);

// The group outlives its memberships; a member outlives its membership.
class GrowthGroup {
 public:
  // Ends when it dies: an optimizer keeps the memberships of its moments beside them.
  class [[nodiscard]] Membership {
   public:
    Membership() = default;
    Membership(Membership&& other) noexcept;
    Membership& operator=(Membership&& other) noexcept;
    ~Membership();

   private:
    friend class GrowthGroup;
    Membership(GrowthGroup& group, RowMember& member) : group_(&group), member_(&member) {}
    GrowthGroup* group_ = nullptr;
    RowMember* member_ = nullptr;
  };

  // Rows 0..rows-1 get the ids 0..rows-1. Throws Error when rows < 1.
  GrowthGroup(std::string name, int64_t rows);
  GrowthGroup(const GrowthGroup&) = delete;
  GrowthGroup& operator=(const GrowthGroup&) = delete;

  const std::string& name() const { return name_; }
  int64_t rows() const { return static_cast<int64_t>(ids_.size()); }
  // Ids, by row. An expert keeps its id for life; its row changes when another one is removed.
  const std::vector<int64_t>& ids() const { return ids_; }
  int64_t next_id() const { return next_id_; }
  // Rows by age: the row of the lowest living id first.
  std::vector<int64_t> rows_by_age() const;
  // The row that holds `id`, or nothing when it does not live.
  std::optional<int64_t> row_of(int64_t id) const;
  // Changes with every edit.
  uint64_t generation() const { return generation_; }
  const std::vector<Edit>& log() const { return log_; }

  // Throws Error when the row counts differ or the member is in the group already. Members are
  // asked in the order in which they joined.
  Membership join(RowMember& member);

  // `count` new last rows. Returns the first one's id; the others follow. Throws Error when
  // count < 1, or whatever init or a member's prepare throws.
  int64_t append(int64_t count, const RowInit& init, const EditNote& note = {});

  // A new last row, whose content each member derives from row `source`. Returns its id.
  // Throws Error: source out of range, more than 8 values, or whatever a member's prepare throws.
  int64_t duplicate(int64_t source, const EditNote& note = {});

  // Row `row` goes, the last row takes its place. Throws Error when out of range or the only one.
  void remove(int64_t row, const EditNote& note = {});

 private:
  friend class GrowthTransaction;

  std::string name_;
  std::vector<RowMember*> members_;
  std::vector<int64_t> ids_;
  int64_t next_id_;
  uint64_t generation_ = 0;
  std::vector<Edit> log_;
};

// The two phases over one or more groups: prepared changes are committed together, or rolled back
// when the transaction dies. Edits of one group are one call above; loading a checkpoint resizes
// every group in one transaction.
class GrowthTransaction {
 public:
  // What a group becomes: its ids by row, and its log.
  struct Next {
    std::vector<int64_t> ids;
    int64_t next_id;
    std::vector<Edit> added = {};                              // goes behind the log
    std::optional<std::vector<Edit>> replaced = std::nullopt;  // takes the log's place
  };

  GrowthTransaction() = default;
  ~GrowthTransaction();
  GrowthTransaction(const GrowthTransaction&) = delete;
  GrowthTransaction& operator=(const GrowthTransaction&) = delete;

  // Throws what a member's prepare throws; then this group is as before, and the groups prepared
  // earlier will be, too. One change a group.
  void prepare(GrowthGroup& group, const RowChange& change, Next next);

  // A group with the ids and the log of a checkpoint. Throws Error when ids are not distinct,
  // out of [0, next_id), or none.
  void prepare_restore(GrowthGroup& group, std::vector<int64_t> ids, int64_t next_id,
                       std::vector<Edit> log);

  void commit() noexcept;

 private:
  struct Prepared {
    GrowthGroup* group;
    RowChange change;
    Next next;
  };
  std::vector<Prepared> prepared_;
};

}  // namespace offshoot
