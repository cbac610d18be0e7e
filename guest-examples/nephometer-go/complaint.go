package nephometer

import (
	"fmt"

	"nephometer/log"
)

// Complaint is one line of log for all rows of a batch that have the same trouble.
type Complaint struct {
	level log.Level
	what  string
	rows  int
	first string
}

// NewComplaint begins one; what says what happens to the rows.
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

// Write writes the line, if there is something to say.
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
