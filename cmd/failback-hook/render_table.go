package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// renderTable prints rows in columns, the first one to the left and the others,
// which are numbers, to the right. text/tabwriter knows one side for all
// columns and leaves blanks at the ends of lines.
func renderTable(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&b, "  %-*s", widths[i], cell)
				continue
			}
			fmt.Fprintf(&b, "   %*s", widths[i], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
