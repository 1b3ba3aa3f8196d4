-- Gives every HTML page the Vega bundle and the small scripts that draw charts with it and mend the page.
-- Quarto writes each file once per site and the right relative path on each page.
-- vega-bundle.js is written by reports/prepare.py before the pages are rendered.
function Meta()
  if quarto.doc.is_format("html:js") then
    quarto.doc.add_html_dependency({
      name = "lensbook-vega",
      version = "1.0.0",
      scripts = { "vega-bundle.js", "charts.js", "page.js" },
    })
  end
end
