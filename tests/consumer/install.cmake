# Installs under DESTDIR, as packagers do, and moves the folder: what the other tests use has never
# been at its CMAKE_INSTALL_PREFIX.
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

set(stage ${WORK}/stage)
file(REMOVE_RECURSE ${PREFIX} ${WORK})
set(ENV{DESTDIR} ${stage})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix /opt/offshoot)
unset(ENV{DESTDIR})

file(GLOB top RELATIVE ${stage} ${stage}/* ${stage}/opt/*)
if(NOT top STREQUAL "opt;opt/offshoot")
  message(FATAL_ERROR "installed to ${top}, expected opt/offshoot only")
endif()
file(RENAME ${stage}/opt/offshoot ${PREFIX})

# What must be there, and what must not.
file(GLOB_RECURSE installed RELATIVE ${PREFIX} ${PREFIX}/*)
foreach(file bin/offshoot-hmm bin/offshoot-inspect include/offshoot/engine/tape.h include/offshoot/mass/controller.h
        include/offshoot/engine/testing/gradcheck.h ${LIBDIR}/liboffshoot_engine.a
        ${LIBDIR}/cmake/offshoot/offshoot-config.cmake ${LIBDIR}/pkgconfig/offshoot.pc)
  if(NOT file IN_LIST installed)
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
foreach(file IN LISTS installed)
  if(file MATCHES "hdf5_(driver|handle|state|types)\\.h$|^include/.*(/tools/|/emulation/|\\.(cpp|cu|cuh)$)")
    message(FATAL_ERROR "${file} is installed, and private")
  endif()
  # Nothing in it may point to where it was built, or first installed.
  if(file MATCHES "\\.(h|cmake|pc)$")
    file(READ ${PREFIX}/${file} text)
    foreach(path ${BUILD} ${SOURCE} /opt/offshoot)
      string(FIND "${text}" "${path}" found)
      if(found GREATER -1)
        message(FATAL_ERROR "${file} has the path ${path} in it")
      endif()
    endforeach()
  endif()
endforeach()

run(${PREFIX}/bin/offshoot-hmm --help)

# A build with CUDA says so to whoever links any part of it.
if(HAS_CUDA)
  file(READ ${PREFIX}/${LIBDIR}/cmake/offshoot/offshoot-targets.cmake text)
  expect("${text}" "\"[^\"]*fmt::fmt;offshoot::cuda[^\"]*\"")
endif()
