"""Charts as SVG: their colors, the drawings, and files of their own."""
