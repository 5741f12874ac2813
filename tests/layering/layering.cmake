# cmake -DROOT=<source tree> -P layering.cmake: the rules of the house that a compiler cannot see.
# Includes point down only and are written from the root, heavy third-party headers stay behind
# the .cpp that wraps them, and no file outgrows 500 lines. Prints every breach.
cmake_minimum_required(VERSION 3.25)

# What each folder may include.
set(may_cuda cuda)
set(may_engine engine cuda)
set(may_ops ops engine cuda)
set(may_optim optim ops engine cuda)
set(may_models models ops engine)
set(may_mass mass models optim ops engine)
set(may_tools tools mass models optim ops engine)
set(may_tests tests tools mass models optim ops engine cuda)

# Third-party headers: (header, files that may include it).
set(guarded
  "^(cuda|cublas|cudnn|cub/|nccl|nv)" "^cuda/(check\\.h|.*\\.(cu|cuh|cpp))$"
  "^nlohmann/" "^engine/json\\.cpp$"
  "^CLI/" "^tools/support/options\\.cpp$"
  "^(hdf5|H5)" "^(engine/hdf5_[a-z]+\\.(h|cpp)|tests/(support|fuzz)/[a-z0-9_]+\\.cpp|tests/engine/broken_file\\.cpp)$"
  "^(dnnl|oneapi/dnnl)" "^[a-z_/]+\\.cpp$"
  "^fmt/(format|ranges|chrono|color|os|std|ostream|compile|args|xchar)" "\\.(cpp|cu)$"
  "^(gtest|gmock)/" "^tests/")

# Own headers that let <hdf5.h> through: no other file may include them.
set(private "^engine/hdf5_(driver|handle|state|types)\\.h$" "^engine/hdf5_[a-z]+\\.(h|cpp)$")

set(breaches 0)
function(breach file text)
  message("${file}: ${text}")
  math(EXPR breaches "${breaches} + 1")
  set(breaches ${breaches} PARENT_SCOPE)
endfunction()

function(check_own_include file header)
  string(REGEX MATCH "^[^/]+" folder ${file})
  string(REGEX MATCH "^[^/]+" target ${header})
  if(NOT header MATCHES "/" OR NOT DEFINED may_${target})
    breach(${file} "includes \"${header}\": expected a path from the root, as \"engine/tape.h\"")
  elseif(NOT target IN_LIST may_${folder})
    breach(${file} "includes \"${header}\": ${folder} may include ${may_${folder}} only")
  elseif(header MATCHES "^engine/testing/" AND NOT file MATCHES "^(engine/testing|tests|tools/examples)/")
    breach(${file} "includes \"${header}\": it is for tests only")
  endif()
  list(GET private 0 pattern)
  list(GET private 1 allowed)
  if(header MATCHES ${pattern} AND NOT file MATCHES ${allowed})
    breach(${file} "includes \"${header}\": only files that match ${allowed} may")
  endif()
  set(breaches ${breaches} PARENT_SCOPE)
endfunction()

function(check_guarded_include file header)
  set(rules ${guarded})
  while(rules)
    list(POP_FRONT rules pattern allowed)
    if(header MATCHES ${pattern} AND NOT file MATCHES ${allowed})
      breach(${file} "includes <${header}>: only files that match ${allowed} may")
    endif()
  endwhile()
  set(breaches ${breaches} PARENT_SCOPE)
endfunction()

function(check_file file)
  file(READ ${ROOT}/${file} text)
  string(REGEX MATCHALL "\n" newlines "${text}")
  list(LENGTH newlines lines)
  if(lines GREATER 500)
    breach(${file} "${lines} lines, expected 500 at most")
  endif()
  string(REGEX MATCHALL "(^|\n)[ \t]*#[ \t]*include[ \t]*[<\"][^>\"\n]+[>\"]" includes "${text}")
  foreach(include IN LISTS includes)
    string(REGEX MATCH "[<\"]([^>\"]+)[>\"]" ignored "${include}")
    set(header ${CMAKE_MATCH_1})
    if(include MATCHES "<")
      check_guarded_include(${file} ${header})
    else()
      check_own_include(${file} ${header})
    endif()
  endforeach()
  set(breaches ${breaches} PARENT_SCOPE)
endfunction()

set(patterns "")
foreach(folder cuda engine ops optim models mass tools tests)
  foreach(suffix h cpp cu cuh)
    list(APPEND patterns ${ROOT}/${folder}/*.${suffix})
  endforeach()
endforeach()
file(GLOB_RECURSE files RELATIVE ${ROOT} ${patterns})
list(LENGTH files count)
if(count EQUAL 0)
  message(FATAL_ERROR "no source file under ${ROOT}")
endif()
foreach(file IN LISTS files)
  check_file(${file})
endforeach()
if(breaches)
  message(FATAL_ERROR "${breaches} breaches in ${count} files")
endif()
message("${count} files keep the rules")
