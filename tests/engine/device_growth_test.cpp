// Growth on a CUDA device, against the same growth on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/address_space.h"
#include "engine/error.h"
#include "engine/growable_buffer.h"
#include "engine/parameter.h"
#include "engine/row_tensor.h"
#include "engine/testing/gradcheck.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using testing::kCuda;

constexpr int64_t kRows = 3, kReserve = 8;

// Row elements that are no multiple of anything, and a vector axis longer than a block.
const Shape kShape{kRows, 3, 307};

using Contents = std::map<std::string, Tensor>;

// An expert pool as a model and an optimizer would build it.
struct Pool {
  Pool(Device device, GradientSplit split, const Shape& shape = kShape)
      : weight("w", testing::random_tensor(shape, DType::f32, 1).to(device), group, kReserve),
        bias("b", testing::random_tensor({shape[0]}, DType::f32, 2).to(device), group, kReserve),
        moment("w.moment", shape, DType::f32, kReserve, NewRow::zero, device),
        count("count", {shape[0]}, DType::i64, kReserve, NewRow::zero) {  // stays on the CPU
    for (Parameter* p : {&weight, &bias}) {
      p->set_gradient_split(split);
      copy_elements(testing::random_tensor(p->value().shape(), DType::f32, 3),
                    p->gradient_slot().grad);
    }
    copy_elements(testing::random_tensor(shape, DType::f32, 4), moment.tensor());
  }

  // Copies on the CPU.
  Contents contents() const {
    Contents all;
    const auto add = [&](const char* name, const Tensor& tensor) {
      all[name] = tensor.to(Device{}).clone();
    };
    add("value", weight.value());
    add("bias", bias.value());
    add("gradient", weight.grad());
    add("bias gradient", bias.grad());
    add("moment", moment.tensor());
    add("count", count.tensor());
    return all;
  }

  GrowthGroup group{"experts", kRows};
  Parameter weight, bias;
  RowTensor moment, count;
  const GrowthGroup::Membership of_moment{group.join(moment)}, of_count{group.join(count)};
};

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.raw(), tensor.raw() + tensor.bytes()};
}

void expect_same_bits(const Contents& got, const Contents& expected, const std::string& when) {
  for (const auto& [name, tensor] : expected) {
    EXPECT_EQ(got.at(name).shape(), tensor.shape()) << name << " " << when;
    EXPECT_TRUE(bytes_of(got.at(name)) == bytes_of(tensor)) << name << " " << when;
  }
}

const GradientSplit kSplits[] = {GradientSplit::project_rows, GradientSplit::project_whole,
                                 GradientSplit::keep_copy, GradientSplit::keep_zero};

// Rows of one granule, so that every new one needs memory of every tensor.
Shape granule_rows() {
  const auto space = reserve_addresses(1, kCuda, Backing::at_commit);
  return {kRows, space->granule_bytes() / 4};
}

TEST(GrowthCuda, DuplicateSplitsGradientsAsTheCpuDoes) {
  OFFSHOOT_NEEDS_CUDA();
  for (const GradientSplit split : kSplits) {
    Pool cpu({}, split), cuda(kCuda, split);
    for (Pool* pool : {&cpu, &cuda}) {
      EXPECT_EQ(pool->group.duplicate(1), kRows);
      pool->group.duplicate(0);
    }
    const Contents expected = cpu.contents(), got = cuda.contents();
    for (const char* name : {"value", "bias", "moment", "count"}) {
      EXPECT_TRUE(bytes_of(got.at(name)) == bytes_of(expected.at(name))) << name;
    }
    for (const char* name : {"gradient", "bias gradient"}) {
      const double error = testing::relative_error(got.at(name), expected.at(name));
      const bool copies = split == GradientSplit::keep_copy || split == GradientSplit::keep_zero;
      EXPECT_LT(error, copies ? 1e-300 : 1e-6) << name << " split " << static_cast<int>(split);
    }
  }
}

TEST(GrowthCuda, ProjectionTouchesNoOtherRow) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::project_rows);
  const Tensor before = pool.contents().at("gradient");
  pool.group.duplicate(1);
  const Tensor after = pool.contents().at("gradient");
  for (const int64_t row : {0, 2}) {
    EXPECT_TRUE(bytes_of(after.rows(row, 1)) == bytes_of(before.rows(row, 1))) << row;
  }
  EXPECT_TRUE(bytes_of(after.rows(kRows, 1)) == bytes_of(before.rows(1, 1)));
  EXPECT_FALSE(bytes_of(after.rows(1, 1)) == bytes_of(before.rows(1, 1)));
}

TEST(GrowthCuda, EditsInARowGiveTheCpusBits) {
  OFFSHOOT_NEEDS_CUDA();
  Pool cpu({}, GradientSplit::keep_copy), cuda(kCuda, GradientSplit::keep_copy);
  const RowInit init = [](std::string_view member, const Tensor& rows) {
    if (member != "w") return;
    copy_elements(testing::random_tensor(rows.shape(), DType::f32, 9), rows);
  };
  const std::vector<std::function<void(GrowthGroup&)>> edits = {
      [](GrowthGroup& group) { group.duplicate(2); },
      [](GrowthGroup& group) { group.remove(0); },
      [&](GrowthGroup& group) { group.append(3, init); },
      [](GrowthGroup& group) { group.remove(group.rows() - 1); },
      [](GrowthGroup& group) { group.remove(1); },
      [](GrowthGroup& group) { group.duplicate(1); },
  };
  for (size_t i = 0; i < edits.size(); ++i) {
    edits[i](cpu.group);
    edits[i](cuda.group);
    expect_same_bits(cuda.contents(), cpu.contents(), "after edit " + std::to_string(i));
  }
}

TEST(GrowthCuda, RemovalMovesTheLastRow) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_copy);
  const Contents before = pool.contents();
  pool.group.remove(0);
  for (const auto& [name, tensor] : pool.contents()) {
    EXPECT_TRUE(bytes_of(tensor.rows(0, 1)) == bytes_of(before.at(name).rows(2, 1))) << name;
    EXPECT_TRUE(bytes_of(tensor.rows(1, 1)) == bytes_of(before.at(name).rows(1, 1))) << name;
  }
}

TEST(GrowthCuda, EditsNeitherMoveNorTouchOtherRowsUntilTheReserveIsExceeded) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_copy);
  const auto addresses = [&] {
    return std::vector<std::byte*>{pool.weight.value().address(), pool.bias.value().address(),
                                   pool.weight.grad().address(), pool.moment.tensor().address()};
  };
  const std::vector<std::byte*> before = addresses();
  const Contents contents = pool.contents();
  const int64_t room = pool.weight.reserve_rows();
  const auto first_rows = [&] {
    Contents rows;
    for (const auto& [name, tensor] : pool.contents()) rows[name] = tensor.rows(0, kRows);
    return rows;
  };
  for (int64_t row = kRows; row < 9; ++row) pool.group.duplicate(0);
  EXPECT_EQ(addresses(), before);
  expect_same_bits(first_rows(), contents, "within the reserve");
  pool.group.append(room, [](std::string_view, const Tensor&) {});
  EXPECT_NE(pool.weight.value().address(), before[0]);
  EXPECT_EQ(pool.weight.value().dim(0), 9 + room);
  expect_same_bits(first_rows(), contents, "beyond the reserve");
}

TEST(GrowthCuda, MemoryThatCannotBeHadChangesNothing) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::project_rows, granule_rows());
  // The bias and the counts need no new memory for one row more.
  constexpr int64_t kCommits = 3;  // value, gradient, moment
  const Contents before = pool.contents();
  const std::byte* const value = pool.weight.value().address();
  const int64_t committed = storage_stats(kCuda).growable_bytes;
  for (const auto& edit :
       {std::function<void()>([&] { pool.group.duplicate(1); }), std::function<void()>([&] {
          pool.group.append(2, [](std::string_view, const Tensor&) {});
        })}) {
    for (int64_t successes = 0; successes < kCommits; ++successes) {
      testing::fail_commits_after(successes);
      EXPECT_THROW(edit(), Error) << successes;
      testing::fail_commits_after(-1);
      expect_same_bits(pool.contents(), before, "failure " + std::to_string(successes));
      EXPECT_EQ(pool.weight.value().address(), value);
      EXPECT_EQ(storage_stats(kCuda).growable_bytes, committed);
      EXPECT_EQ(pool.group.rows(), kRows);
      EXPECT_TRUE(pool.group.log().empty());
    }
  }
  testing::fail_commits_after(kCommits);
  EXPECT_NO_THROW(pool.group.duplicate(1));
  testing::fail_commits_after(-1);
  EXPECT_GT(storage_stats(kCuda).growable_bytes, committed);
  pool.group.remove(kRows);
  EXPECT_EQ(storage_stats(kCuda).growable_bytes, committed);
}

TEST(GrowthCuda, AnInitThatThrowsChangesNothing) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_copy);
  const Contents before = pool.contents();
  const auto init = [](std::string_view member, const Tensor&) {
    if (member == "w.moment") fail("test", "no");
  };
  EXPECT_THROW(pool.group.append(1, init), Error);
  expect_same_bits(pool.contents(), before, "after the failure");
}

TEST(GrowthCuda, SmallRowsShareTheirMemory) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_copy);
  const StorageStats before = storage_stats(kCuda);
  for (int i = 0; i < 4; ++i) pool.group.duplicate(0);
  EXPECT_EQ(storage_stats(kCuda).growable_bytes, before.growable_bytes);
  EXPECT_EQ(storage_stats(kCuda).system_requests, before.system_requests);
}

TEST(GrowthCuda, EditsWithinMemoryThereIsDoNotWait) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::project_rows);
  const int64_t waits = device_waits();
  pool.group.duplicate(1);
  pool.group.remove(0);
  EXPECT_EQ(device_waits(), waits);
}

TEST(GrowthCuda, HandlesOnRowsThatWentSaySo) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_copy);
  pool.group.duplicate(0);
  const Tensor four = pool.weight.value(), last = four.rows(kRows, 1), first = four.rows(0, 1);
  pool.group.remove(1);
  for (const Tensor& gone : {four, last}) {
    EXPECT_THROW((void)gone.address(), Error);
    EXPECT_THROW((void)gone.device_data<float>(), Error);
    EXPECT_THROW((void)gone.to(Device{}), Error);
    EXPECT_THROW((void)gone.clone(), Error);
    EXPECT_THROW(fill_zero(gone), Error);
  }
  EXPECT_NO_THROW((void)first.to(Device{}));
}

TEST(GrowthCuda, NewRowsAreZeroWhereOthersLay) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_zero);
  pool.group.remove(2);
  pool.group.duplicate(0);
  pool.group.append(1, [](std::string_view, const Tensor&) {});
  const Contents after = pool.contents();
  for (const char* name : {"moment", "gradient"}) {
    const Tensor row = after.at(name).rows(2, 1);
    EXPECT_EQ(testing::relative_error(row, Tensor::zeros(row.shape(), DType::f32)), 0.0) << name;
  }
  const Tensor row = after.at("value").rows(3, 1);
  EXPECT_EQ(testing::relative_error(row, Tensor::zeros(row.shape(), DType::f32)), 0.0);
}

// What a device hands out is what its last owner left, under emulation NaN.
void expect_new_pages_are_zero(Device device) {
  const int64_t granule = reserve_addresses(1, device, Backing::at_commit)->granule_bytes();
  const auto buffer = std::make_shared<GrowableBuffer>("buffer", 8 * granule, device);
  const auto expect_zero_from = [&](int64_t first) {
    const int64_t bytes = buffer->committed_bytes();
    buffer->expose(bytes);
    const Tensor all(buffer, 0, {bytes / 8}, DType::i64);
    const Tensor fresh = all.rows(first / 8, (bytes - first) / 8).to(Device{});
    EXPECT_EQ(std::ranges::count(fresh.elements<int64_t>(), 0), fresh.size())
        << to_string(device) << " from " << first << " to " << bytes;
    copy_elements(Tensor::full(all.shape(), DType::i64, 7, device), all);
  };
  buffer->commit(1);
  expect_zero_from(0);
  for (const int64_t granules : {2, 5}) {
    const int64_t before = buffer->committed_bytes();
    buffer->commit(granules * granule);
    expect_zero_from(before);
  }
  buffer->release_beyond(granule);
  ASSERT_EQ(buffer->committed_bytes(), granule);
  buffer->commit(3 * granule);
  expect_zero_from(granule);
}

TEST(GrowableBuffer, NewPagesAreZero) { expect_new_pages_are_zero({}); }

TEST(GrowableBufferCuda, NewPagesAreZero) {
  OFFSHOOT_NEEDS_CUDA();
  expect_new_pages_are_zero(kCuda);
}

TEST(GrowthCuda, FirstRowsAreZero) {
  OFFSHOOT_NEEDS_CUDA();
  const RowTensor rows("rows", {5, 7}, DType::f32, 9, NewRow::copy, kCuda);
  const Tensor host = rows.tensor().to(Device{});
  EXPECT_EQ(testing::relative_error(host, Tensor::zeros({5, 7}, DType::f32)), 0.0);
}

TEST(GrowthCuda, ARestoreTakesTheRowsOfTheFile) {
  OFFSHOOT_NEEDS_CUDA();
  Pool pool(kCuda, GradientSplit::keep_copy);
  const Contents before = pool.contents();
  GrowthTransaction transaction;
  transaction.prepare_restore(pool.group, {5, 1, 9, 4, 2}, 12, {});
  transaction.commit();
  EXPECT_EQ(pool.weight.value().dim(0), 5);
  Contents rows;
  for (const auto& [name, tensor] : pool.contents()) rows[name] = tensor.rows(0, kRows);
  expect_same_bits(rows, before, "in the old rows");
  EXPECT_EQ(pool.group.duplicate(4), 12);
}

TEST(GrowthCuda, AReserveBeyondAllAddressesIsAnError) {
  OFFSHOOT_NEEDS_CUDA();
  for (const int64_t rows : {int64_t{1} << 55, int64_t{1} << 59}) {
    EXPECT_THROW(RowTensor("w", {1, 4}, DType::f32, rows, NewRow::copy, kCuda), Error) << rows;
  }
}

}  // namespace
}  // namespace offshoot
