# find_package(offshoot CONFIG) from a project elsewhere; builds it and runs what it built.
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK})
run(${configure} -S ${CMAKE_CURRENT_LIST_DIR}/project -DEXAMPLES=${SOURCE}/tools/examples)
run(${CMAKE_COMMAND} --build ${WORK} --parallel)
run(${WORK}/consumer ${WORK}/model.h5)
expect("${output}" "^5 experts, the loss fell, the checkpoint is read back\n$")
run(${WORK}/train_and_grow)
expect("${output}" "with growth: loss .* 4 experts")
run(${WORK}/own_operation)
expect("${output}" "rms_norm: gradient error [0-9.]+e-(0[6-9]|[1-9][0-9])\n")
