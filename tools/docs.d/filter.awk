# Doxygen's input filter: the house writes plain `//` comments, this makes them what Doxygen reads.
#   the block at a header's head      documents the file
#   a block right above a declaration documents it; what a blank line follows is left alone
#   a comment behind a declaration    documents it, lines aligned under it included
#   an operation without one          is what the head of its file in ops/ says
#   comments in function bodies       are left alone
#   tools/examples/*.cpp              becomes a page: the head as its text, then the program
# In a block "Label   text" begins a labelled paragraph, and indented lines are shown as they stand.
# Every line of input gives as many lines as it can, so that warnings come near the right place.
# awk -v file=<path> -f filter.awk <path>

function escaped(text,    out, i, c, quoted) {
  out = ""
  quoted = 0
  for (i = 1; i <= length(text); ++i) {
    c = substr(text, i, 1)
    if (c == "`" || c == "\"") quoted = !quoted
    if (!quoted && index("\\@<>#&%$", c)) out = out "\\"
    out = out c
  }
  gsub(/e\.g\. /, "e.g.\\ ", out)  # no ends of sentences, at which a summary would stop
  gsub(/et al\. /, "et al.\\ ", out)
  return out
}

function end_shown() {
  if (shown) print mark " \\endcode"
  shown = 0
}

# One line of a block's text.
function put(text,    body, indent) {
  body = text
  sub(/^ +/, "", body)
  indent = length(text) - length(body)
  if (body == "") {
    if (shown) { gap = 1; return }  # perhaps more of it follows
    list = label = 0
    print mark
    return
  }
  if (indent >= 2 && !list && !label) {
    if (!shown) {
      indented = indent
      print mark " \\code{.unparsed}"
    } else if (gap) {
      print mark
    }
    gap = 0
    shown = 1
    print mark " " substr(text, (indent < indented ? indent : indented) + 1)
    return
  }
  end_shown()
  if (gap) print mark
  gap = 0
  if (indent == 0) {
    if (list && body !~ /^- /) list = 0
    if (body ~ /^- /) list = 1
    if (body ~ /^[A-Z][A-Za-z]+   *[^ ]/ && body ~ /^[A-Za-z]+  /) {
      label = 1
      list = 0
      match(body, /^[A-Za-z]+/)
      print mark " \\par " substr(body, 1, RLENGTH)
      body = substr(body, RLENGTH + 1)
      sub(/^ +/, "", body)
    } else if (label) {
      label = 0
      print mark
    }
    print mark " " escaped(body)
    return
  }
  print mark " " (list ? "  " : "") escaped(body)
}

function put_block(    i) {
  shown = list = label = gap = 0
  for (i = 1; i <= blocks; ++i) put(block[i])
  end_shown()
}

function flush_plain(    i) {
  for (i = 1; i <= blocks; ++i) print plain[i]
  blocks = 0
}

# Follows braces, so that `bodies` is above 0 in a function.
function follow(code,    i, c) {
  gsub(/"([^"\\]|\\.)*"/, "\"\"", code)
  gsub(/'([^'\\]|\\.)'/, "0", code)
  for (i = 1; i <= length(code); ++i) {
    c = substr(code, i, 1)
    if (c == "(") ++parentheses
    if (c == ")") --parentheses
    if (c == "{") {
      is_body[++depth] = !(statement ~ /(^|[^a-z_])(namespace|class|struct|union|enum|extern)[^a-z_]/ &&
                           statement !~ /\)/)
      if (is_body[depth]) ++bodies
      statement = ""
    } else if (c == "}") {
      if (is_body[depth]) --bodies
      --depth
      statement = ""
    } else if (c == ";") {
      statement = ""
    } else {
      statement = statement c
    }
  }
  statement = statement " "
}

BEGIN {
  is_example = file ~ /tools\/examples\//
  is_op = match(file, /ops\/[a-z_]+\.h$/)
  if (is_op) name = substr(file, RSTART)
  head = 1
  mark = "///"
}

# A whole line of comment.
!in_program && /^[ \t]*\/\// {
  column = match($0, /\/\//)
  if (column == trailing && !blocks) {
    text = substr($0, column + 2)
    sub(/^ +/, "", text)
    printf "%*s///< %s\n", column - 1, "", escaped(text)
    next
  }
  trailing = 0
  text = substr($0, column + 2)
  sub(/^ /, "", text)
  block[++blocks] = text
  plain[blocks] = $0
  next
}

is_example {
  if (head) {
    name = file
    sub(/.*\//, "", name)
    sub(/\.cpp$/, "", name)
    title = block[1]
    sub(/\.$/, "", title)
    print "/// \\page example_" name " " title
    block[1] = ""
    put_block()
    print "///"
    print "/// tools/examples/" name ".cpp:"
    print "/// \\code{.cpp}"
    head = blocks = 0
    in_program = 1
  }
  print "/// " $0
  next
}

{
  if (blocks) {
    if (head) {
      print "/// \\file"
      put_block()
      print ""
    } else if ($0 ~ /^[ \t]*$/ || bodies > 0 || $0 ~ /^[ \t]*(}|#|public:|private:|protected:)/) {
      flush_plain()
    } else {
      put_block()
      blocks_before = 1
    }
    blocks = 0
  }
  if (is_op && !blocks_before && depth == 1 && statement ~ /^ *$/ && $0 ~ /^[A-Z][A-Za-z]* [a-z_0-9]+\(/) {
    print "/// See " name " for its contract."
  }
  blocks_before = 0
  head = 0
  trailing = 0
  code = $0
  comment = ""
  outside = bodies == 0
  if (match(code, /[^ \t].*[ \t]\/\/ /)) {
    at = match(code, /  \/\/ /)
    if (at) {
      comment = substr(code, at + 5)
      column = at + 2
      code = substr(code, 1, at - 1)
    }
  }
  follow(code)
  if (comment != "" && outside && bodies == 0 && parentheses == 0 && code !~ /^[ \t]*[}#]/ &&
      code !~ /[{:]$/) {
    printf "%s  ///< %s\n", code, escaped(comment)
    trailing = column
  } else {
    print
  }
}

END {
  if (in_program) print "/// \\endcode"
  else if (blocks) flush_plain()
}
