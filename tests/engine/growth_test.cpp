#include "engine/growth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/parameter.h"
#include "engine/row_tensor.h"

namespace offshoot {
namespace {

constexpr int64_t kRows = 3, kVectors = 3, kVectorSize = 2, kReserve = 8;
constexpr int64_t kPageFloats = 1024;  // a row of this size is one page

void fill(const Tensor& tensor, float start) {
  for (float& value : tensor.elements<float>()) value = start += 1.0f;
}

std::vector<float> contents(const Tensor& tensor) {
  const auto elements = tensor.elements<float>();
  return {elements.begin(), elements.end()};
}

// An expert pool as a model and an optimizer would build it.
struct Pool {
  GrowthGroup group{"experts", kRows};
  Parameter fc1{"fc1", Tensor::zeros({kRows, kVectors, kVectorSize}, DType::f32), group, kReserve};
  RowTensor moment{
      "fc1.moment", {kRows, kVectors, kVectorSize}, DType::f32, kReserve, NewRow::zero};
  GrowthGroup::Membership membership{group.join(moment)};

  explicit Pool(GradientSplit split = GradientSplit::project_rows) {
    fc1.set_gradient_split(split);
    fill(fc1.value(), 0.0f);
    fill(fc1.gradient_slot().grad, 100.0f);
    fill(moment.tensor(), 200.0f);
  }
};

using Log = std::vector<std::string>;

struct Recorder : RowMember {
  Recorder(std::string name, Log& log, bool fails)
      : name_(std::move(name)), log_(log), fails_(fails) {}
  std::string_view name() const override { return name_; }
  int64_t rows() const override { return kRows; }
  void prepare(const RowChange&) override {
    if (fails_) fail(name_, "no memory");
    log_.push_back("prepare " + name_);
  }
  void commit(const RowChange&) noexcept override { log_.push_back("commit " + name_); }
  void rollback(const RowChange&) noexcept override { log_.push_back("rollback " + name_); }

  std::string name_;
  Log& log_;
  bool fails_;
};

TEST(Growth, DuplicateCopiesValuesAndProjectsTheGradient) {
  Pool pool;
  const auto g = contents(pool.fc1.grad().rows(1, 1));
  EXPECT_EQ(pool.group.duplicate(1), 3);
  ASSERT_EQ(pool.fc1.value().shape(), (Shape{4, kVectors, kVectorSize}));
  const auto w = contents(pool.fc1.value().rows(1, 1));
  EXPECT_EQ(contents(pool.fc1.value().rows(3, 1)), w);
  EXPECT_EQ(contents(pool.fc1.grad().rows(3, 1)), g);
  const auto kept = contents(pool.fc1.grad().rows(1, 1));
  for (size_t i = 0; i < kept.size(); i += kVectorSize) {
    const float share = (g[i] * w[i] + g[i + 1] * w[i + 1]) / (w[i] * w[i] + w[i + 1] * w[i + 1]);
    EXPECT_FLOAT_EQ(kept[i], share * w[i]);
    EXPECT_FLOAT_EQ(kept[i + 1], share * w[i + 1]);
  }
}

TEST(Growth, ProjectWholeTakesTheRowAsOneVector) {
  Pool pool(GradientSplit::project_whole);
  const auto g = contents(pool.fc1.grad().rows(2, 1)), w = contents(pool.fc1.value().rows(2, 1));
  pool.group.duplicate(2);
  double gw = 0, ww = 0;
  for (size_t i = 0; i < g.size(); ++i) gw += g[i] * w[i], ww += w[i] * w[i];
  const auto kept = contents(pool.fc1.grad().rows(2, 1));
  for (size_t i = 0; i < g.size(); ++i)
    EXPECT_FLOAT_EQ(kept[i], static_cast<float>(gw / ww) * w[i]);
}

TEST(Growth, KeepCopyAndKeepZeroLeaveTheSourceAlone) {
  for (const GradientSplit split : {GradientSplit::keep_copy, GradientSplit::keep_zero}) {
    Pool pool(split);
    const auto g = contents(pool.fc1.grad().rows(0, 1));
    pool.group.duplicate(0);
    EXPECT_EQ(contents(pool.fc1.grad().rows(0, 1)), g);
    const std::vector<float> zeros(g.size(), 0.0f);
    EXPECT_EQ(contents(pool.fc1.grad().rows(3, 1)), split == GradientSplit::keep_copy ? g : zeros);
  }
}

TEST(Growth, AnEmptyGradientStaysEmpty) {
  Pool pool;
  pool.fc1.zero_grad();
  pool.group.duplicate(1);
  EXPECT_FALSE(pool.fc1.has_grad());
  EXPECT_EQ(pool.fc1.grad().shape(), (Shape{4, kVectors, kVectorSize}));
}

TEST(Growth, PreparesInOrderThenCommits) {
  Log log;
  Recorder a("a", log, false), b("b", log, false);
  GrowthGroup group("experts", kRows);
  const auto first = group.join(a), second = group.join(b);
  group.duplicate(0);
  EXPECT_EQ(log, (Log{"prepare a", "prepare b", "commit a", "commit b"}));
}

TEST(Growth, AFailureRollsBackInReverseAndCommitsNothing) {
  Log log;
  Recorder a("a", log, false), b("b", log, false), c("c", log, true), d("d", log, false);
  GrowthGroup group("experts", kRows);
  const GrowthGroup::Membership memberships[] = {group.join(a), group.join(b), group.join(c),
                                                 group.join(d)};
  EXPECT_THROW(group.duplicate(0), Error);
  EXPECT_EQ(log, (Log{"prepare a", "prepare b", "rollback b", "rollback a"}));
  EXPECT_EQ(group.rows(), kRows);
  EXPECT_TRUE(group.log().empty());
}

TEST(Growth, AFailureOfASecondGroupRollsTheFirstBack) {
  Log log;
  Recorder a("a", log, false), b("b", log, true);
  GrowthGroup first("first", kRows), second("second", kRows);
  const auto one = first.join(a), two = second.join(b);
  {
    GrowthTransaction transaction;
    transaction.prepare_restore(first, {4, 7}, 9, {});
    EXPECT_THROW(transaction.prepare_restore(second, {0}, 1, {}), Error);
  }
  EXPECT_EQ(log, (Log{"prepare a", "rollback a"}));
  EXPECT_EQ(first.ids(), (std::vector<int64_t>{0, 1, 2}));
}

TEST(Growth, RestoreTakesRowsIdsAndLogOfTheFile) {
  Pool pool;
  const auto values = contents(pool.fc1.value());
  GrowthTransaction transaction;
  transaction.prepare_restore(pool.group, {5, 1, 9, 4, 2}, 12,
                              {{RowChange::Kind::duplicate, 1, 9, {3, "mass", {}}}});
  transaction.commit();
  EXPECT_EQ(pool.group.ids(), (std::vector<int64_t>{5, 1, 9, 4, 2}));
  EXPECT_EQ(pool.group.rows_by_age(), (std::vector<int64_t>{1, 4, 3, 0, 2}));
  EXPECT_EQ(pool.group.row_of(9), 2);
  EXPECT_EQ(pool.group.row_of(0), std::nullopt);
  EXPECT_EQ(pool.fc1.value().dim(0), 5);
  EXPECT_EQ(pool.moment.rows(), 5);
  EXPECT_TRUE(std::ranges::equal(values, contents(pool.fc1.value().rows(0, 3))));
  EXPECT_EQ(pool.group.duplicate(0), 12);
  EXPECT_EQ(pool.group.log().size(), 2u);
}

TEST(Growth, RestoreRefusesIdsThatCannotBe) {
  Pool pool;
  for (const std::vector<int64_t>& ids : {std::vector<int64_t>{}, {1, 1}, {-1, 2}, {2, 12}}) {
    GrowthTransaction transaction;
    EXPECT_THROW(transaction.prepare_restore(pool.group, ids, 12, {}), Error);
  }
}

TEST(Growth, MemoryThatCannotBeHadChangesNothing) {
  // Every commit of the transaction fails in turn; then one succeeds.
  for (int64_t successes = 0;; ++successes) {
    GrowthGroup group("experts", kRows);
    const Tensor initial = Tensor::zeros({kRows, kPageFloats}, DType::f32);
    fill(initial, 0.0f);
    Parameter weight("w", initial, group, kReserve);
    fill(weight.gradient_slot().grad, 5.0f);
    const auto value = contents(weight.value()), grad = contents(weight.grad());
    const int64_t committed = storage_stats().growable_bytes;
    testing::fail_commits_after(successes);
    bool failed = false;
    try {
      group.duplicate(1);
    } catch (const Error& error) {
      failed = true;
      EXPECT_NE(std::string(error.what()).find("cannot commit"), std::string::npos);
    }
    testing::fail_commits_after(-1);
    if (!failed) {
      EXPECT_EQ(successes, 2);  // value and gradient
      break;
    }
    EXPECT_EQ(contents(weight.value()), value);
    EXPECT_EQ(contents(weight.grad()), grad);
    EXPECT_EQ(storage_stats().growable_bytes, committed);
    EXPECT_EQ(group.rows(), kRows);
  }
}

TEST(Growth, AReserveBeyondAllAddressesIsAnError) {
  // 2^64 bytes and a row: what is left of them in 64 bits could be had.
  EXPECT_THROW(RowTensor("w", {1, 4}, DType::f64, (int64_t{1} << 59) + 1, NewRow::copy), Error);
}

TEST(Growth, RemovalGivesTheMemoryBackAndOldHandlesSaySo) {
  GrowthGroup group("experts", kRows);
  RowTensor large("large", {kRows, kPageFloats}, DType::f32, kReserve, NewRow::copy);
  const auto membership = group.join(large);
  const int64_t before = large.committed_bytes();
  group.duplicate(0);
  const Tensor four_rows = large.tensor();
  group.remove(0);
  EXPECT_EQ(large.committed_bytes(), before);
  EXPECT_THROW((void)four_rows.raw(), Error);
}

TEST(Growth, AZeroRowIsZeroWhereARemovedRowLay) {
  GrowthGroup group("experts", 2);
  RowTensor moment("moment", {2, 6}, DType::f32, kReserve, NewRow::zero);
  const auto membership = group.join(moment);
  fill(moment.tensor(), 7.0f);
  group.remove(1);
  group.duplicate(0);
  EXPECT_EQ(contents(moment.row(1)), std::vector<float>(6, 0.0f));
}

TEST(Growth, AddressesStayUntilTheReserveIsExceeded) {
  Pool pool;
  const std::byte* before = pool.fc1.value().raw();
  const auto values = contents(pool.fc1.value());
  for (int64_t row = kRows; row < kReserve; ++row) pool.group.duplicate(0);
  EXPECT_EQ(pool.fc1.value().raw(), before);
  const int64_t page_rows = 4096 / (kVectors * kVectorSize * 4);
  for (int64_t row = kReserve; row <= page_rows; ++row) pool.group.duplicate(0);
  EXPECT_NE(pool.fc1.value().raw(), before);
  EXPECT_TRUE(std::ranges::equal(values, contents(pool.fc1.value().rows(0, kRows))));
}

TEST(Growth, AReserveBeyondAllMemoryIsRefusedAsSuch) {
  for (const int64_t rows : {int64_t{1} << 40, int64_t{1} << 60}) {
    try {
      RowTensor("large", {kRows, 1024}, DType::f32, rows, NewRow::copy);
      ADD_FAILURE() << rows;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("got -"), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).rfind("[large]", 0), 0) << error.what();
    }
  }
}

TEST(Growth, RemovalMovesTheLastRowAndKeepsIds) {
  Pool pool;
  const auto last = contents(pool.fc1.value().rows(2, 1));
  pool.group.remove(0);
  EXPECT_EQ(pool.group.ids(), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(contents(pool.fc1.value().rows(0, 1)), last);
  EXPECT_EQ(pool.group.duplicate(0), 3);  // ids are never used twice
}

TEST(Growth, DuplicateThenRemoveRestoresEveryOtherRow) {
  Pool pool;
  const auto value = contents(pool.fc1.value()), moment = contents(pool.moment.tensor());
  pool.group.duplicate(1);
  pool.group.remove(3);
  EXPECT_EQ(contents(pool.fc1.value()), value);
  EXPECT_EQ(contents(pool.moment.tensor()), moment);
}

TEST(Growth, AppendedRowsAreWhatTheirInitWrites) {
  Pool pool;
  const int64_t first = pool.group.append(2, [](std::string_view member, const Tensor& rows) {
    if (member == "fc1") fill(rows, 40.0f);
  });
  EXPECT_EQ(first, 3);
  EXPECT_EQ(pool.group.ids(), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(contents(pool.fc1.value().rows(3, 1)).front(), 41.0f);
  EXPECT_EQ(contents(pool.moment.tensor().rows(3, 2)), std::vector<float>(12, 0.0f));
  EXPECT_EQ(pool.group.log().size(), 2u);
}

TEST(Growth, TheLogKeepsWhoWhenAndWhy) {
  Pool pool;
  pool.group.duplicate(1, {17, "mass", {{"p_value", 0.004}}});
  pool.group.remove(1, {18, "mass", {}});
  ASSERT_EQ(pool.group.log().size(), 2u);
  const Edit& born = pool.group.log()[0];
  EXPECT_EQ(born.source_id, 1);
  EXPECT_EQ(born.new_id, 3);
  EXPECT_EQ(born.note.step, 17);
  EXPECT_EQ(born.note.values[0].second, 0.004);
  EXPECT_EQ(pool.group.log()[1].kind, RowChange::Kind::remove);
  EXPECT_EQ(pool.group.log()[1].source_id, 1);
  EXPECT_THROW(pool.group.duplicate(0, {0, "x", std::vector<std::pair<std::string, double>>(9)}),
               Error);
}

TEST(Growth, AMemberJoinsOnceAndLeavesWithItsMembership) {
  Pool pool;
  EXPECT_THROW((void)pool.group.join(pool.moment), Error);
  {
    RowTensor passing("passing", {kRows, 6}, DType::f32, kReserve, NewRow::zero);
    const auto membership = pool.group.join(passing);
  }
  EXPECT_EQ(pool.group.duplicate(0), 3);
}

}  // namespace
}  // namespace offshoot
