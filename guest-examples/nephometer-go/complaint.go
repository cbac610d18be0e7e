package nephometer

import (
	"fmt"

	"nephometer/log"
)

// Complaint is one log line for all rows of a batch with the same problem.
type Complaint struct {
	level log.Level
	what  string
	rows  int
	first string
}

// NewComplaint begins a complaint; what names what happens to the rows.
func NewComplaint(level log.Level, what string) *Complaint {
	return &Complaint{level: level, what: what}
}

// Add counts one more row, and why; the reason may be empty.
func (c *Complaint) Add(row Row, reason string) {
	if c.rows == 0 {
		c.first = row.Meter.Name + " of " + row.Resource.ID
		if reason != "" {
			c.first += ": " + reason
		}
	}
	c.rows++
}

// Write writes the line, unless there are no rows.
func (c *Complaint) Write() {
	if c.rows == 0 {
		return
	}
	line := c.what + ": " + c.first
	if c.rows > 1 {
		line += fmt.Sprintf(", and %d more", c.rows-1)
	}
	log.Write(c.level, line)
}
