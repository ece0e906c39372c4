package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String is the line that is printed for a seed.
func (r Result) String() string {
	verdict := "equal"
	if r.Err != nil {
		verdict = "FAILED"
	}
	return fmt.Sprintf("seed %-5d pg%d %5.1f s  %-6s %6d blocks %5d lost  stock %-7s  %d of %d statements failed  %s  [%s]",
		r.Schedule.Seed, r.Schedule.Major, r.Duration.Seconds(), verdict, r.Blocks, r.Lost, r.Stock, r.Failed, r.Statements, r.Schedule.Kind(), strings.Join(r.Strategies, " "))
}

// Summary counts results.
type Summary struct {
	Seeds, Failures int
	Stock           map[Verdict]int
	Traits          map[string]int
	Majors          map[int]int
}

// Add takes one more result into account.
func (s *Summary) Add(r Result) {
	if s.Stock == nil {
		s.Stock, s.Traits, s.Majors = map[Verdict]int{}, map[string]int{}, map[int]int{}
	}
	s.Seeds++
	if r.Err != nil {
		s.Failures++
	}
	s.Stock[r.Stock]++
	s.Majors[r.Schedule.Major]++
	for _, t := range r.Schedule.Traits {
		s.Traits[t]++
	}
	for _, st := range r.Strategies {
		s.Traits["strategy="+st]++
	}
}

// String prints the histogram and the last line.
func (s *Summary) String() string {
	var b strings.Builder
	for _, t := range slices.Sorted(maps.Keys(s.Traits)) {
		fmt.Fprintf(&b, "%5d %s\n", s.Traits[t], t)
	}
	for _, m := range slices.Sorted(maps.Keys(s.Majors)) {
		fmt.Fprintf(&b, "%5d on PostgreSQL %d\n", s.Majors[m], m)
	}
	fmt.Fprintf(&b, "%d seeds, %d failures; stock pg_rewind agreed in %d, was wrong in %d, refused in %d, was not there in %d",
		s.Seeds, s.Failures, s.Stock[Right], s.Stock[Wrong], s.Stock[Refused], s.Stock[Absent])
	return b.String()
}
