-- The parts of Quarto's Markdown that pandoc does not know: numbered figures, tables, equations and sections with
-- their cross-references, callouts, and links from page to page.

local names = { fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section" }
local counts = { fig = 0, tbl = 0, eq = 0 }
local labels = {}
local levels = {}

local callouts = { note = "Note", tip = "Tip", warning = "Warning", important = "Important", caution = "Caution" }

local function kind_of(id)
  return id:match("^(%a+)%-")
end

local function number(id)
  local kind = kind_of(id)
  counts[kind] = counts[kind] + 1
  labels[id] = names[kind] .. "\u{a0}" .. counts[kind]
  return labels[id]
end

local function prefixed(label, blocks)
  local first = blocks[1]
  local lead = { pandoc.Span({ pandoc.Str(label .. ":") }, pandoc.Attr("", { "label" })), pandoc.Space() }
  if first and first.content and (first.t == "Plain" or first.t == "Para") then
    for position, inline in ipairs(lead) do
      first.content:insert(position, inline)
    end
  end
  return blocks
end

-- A labelled cell: its outputs and, last, the caption; tables carry theirs above.
local function float(div)
  local kind = kind_of(div.identifier)
  local caption
  local content = pandoc.Blocks({})
  for _, block in ipairs(div.content) do
    if block.t == "Div" and block.classes:includes("caption") then
      caption = block
    else
      content:insert(block)
    end
  end
  if not caption then return nil end
  local texts = prefixed(number(div.identifier), caption.content)
  local place = kind == "tbl" and 1 or #content + 1
  local parts = { pandoc.RawBlock("html", "<figcaption>"), pandoc.Div(texts), pandoc.RawBlock("html", "</figcaption>") }
  for offset, part in ipairs(parts) do
    content:insert(place + offset - 1, part)
  end
  content:insert(1, pandoc.RawBlock("html", '<figure id="' .. div.identifier .. '" class="float">'))
  content:insert(pandoc.RawBlock("html", "</figure>"))
  return content
end

local function callout(div, kind)
  local title = div.attributes.title
  local first = div.content[1]
  if first and first.t == "Header" then
    title = pandoc.utils.stringify(first)
    div.content:remove(1)
  end
  local heading = pandoc.Plain({ pandoc.Strong({ pandoc.Str(title or callouts[kind]) }) })
  local folded = div.attributes.collapse
  if folded == nil then
    div.content:insert(1, pandoc.Div({ heading }, pandoc.Attr("", { "callout-title" })))
  else
    local open = folded == "false" and "<details open><summary>" or "<details><summary>"
    div.content:insert(1, pandoc.RawBlock("html", open))
    div.content:insert(2, heading)
    div.content:insert(3, pandoc.RawBlock("html", "</summary>"))
    div.content:insert(pandoc.RawBlock("html", "</details>"))
  end
  return pandoc.Div(div.content, pandoc.Attr(div.identifier, { "callout", "callout-" .. kind }))
end

local function section(header, top)
  local level = header.level - top + 1
  levels[level] = (levels[level] or 0) + 1
  for deeper = level + 1, #levels do levels[deeper] = nil end
  if header.identifier:match("^sec%-") then
    labels[header.identifier] = names.sec .. "\u{a0}" .. table.concat(levels, ".")
  end
end

-- `$$ … $$ {#eq-name}`: the equation in a span that carries the label, its number behind it.
local function equations(inlines)
  local position = 2
  while position <= #inlines do
    local id = inlines[position].t == "Str" and inlines[position].text:match("^{#(eq%-[^}]+)}$")
    local before = inlines[position - 1].t == "Math" and position - 1 or position - 2
    if id and before >= 1 and inlines[before].t == "Math" then
      local mark = pandoc.Span({ pandoc.Str("(" .. number(id):match("%d+") .. ")") }, pandoc.Attr("", { "eq-number" }))
      local equation = pandoc.Span({ inlines[before], mark }, pandoc.Attr(id, { "equation" }))
      for _ = before, position do inlines:remove(before) end
      inlines:insert(before, equation)
    end
    position = position + 1
  end
  return inlines
end

local function numbered(block)
  if block.identifier and (block.identifier:match("^fig%-") or block.identifier:match("^tbl%-")) then
    block.caption.long = prefixed(number(block.identifier), block.caption.long)
    return block
  end
end

local structure = {
  traverse = "topdown",
  Div = function(div)
    if div.identifier:match("^fig%-") or div.identifier:match("^tbl%-") then return float(div) end
    for kind in pairs(callouts) do
      if div.classes:includes("callout-" .. kind) then return callout(div, kind) end
    end
  end,
  Figure = numbered,
  Table = numbered,
  Inlines = equations,
}

local function references(cite)
  local result = pandoc.Inlines({})
  for position, citation in ipairs(cite.citations) do
    local kind = kind_of(citation.id)
    if not (kind and names[kind]) then return nil end
    local text = labels[citation.id]
    if not text then error("no figure, table or section is labelled " .. citation.id) end
    if position > 1 then result:extend({ pandoc.Str(","), pandoc.Space() }) end
    result:insert(pandoc.Link({ pandoc.Str(text) }, "#" .. citation.id))
  end
  return result
end

local function page_link(link)
  if not link.target:match("^%a+:") then
    link.target = link.target:gsub("%.qmd$", ".html"):gsub("%.qmd#", ".html#")
    return link
  end
end

function Pandoc(doc)
  local top = 6
  doc:walk({ Header = function(header) top = math.min(top, header.level) end })
  doc = doc:walk(structure)
  doc:walk({ Header = function(header) section(header, top) end })
  return doc:walk({ Cite = references, Link = page_link })
end
