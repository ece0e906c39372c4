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
	renderAligned(w, rows, func(column int) string {
		if column == 0 {
			return "  %-*s"
		}
		return "   %*s"
	})
}

// renderColumns prints rows in columns, all to the left.
func renderColumns(w io.Writer, rows [][]string) {
	renderAligned(w, rows, func(int) string { return "  %-*s" })
}

// renderAligned prints each cell by the format of its column, which takes the width
// of the widest cell there.
func renderAligned(w io.Writer, rows [][]string, format func(column int) string) {
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
			fmt.Fprintf(&b, format(i), widths[i], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
