// Package log writes to the component's log.
//
// Without a host the lines are kept in memory, where tests read them with [Taken].
package log

import "sync"

// Level is the severity of a line.
type Level uint8

// The levels, in the order of the contract.
const (
	LevelTrace Level = iota // Every detail, for authors.
	LevelDebug              // For finding faults.
	LevelInfo               // Worth knowing.
	LevelWarn               // Unexpected, but the work goes on.
	LevelError              // Something failed.
)

// String returns the level as a word.
func (l Level) String() string {
	return [...]string{"trace", "debug", "info", "warn", "error"}[l]
}

// Line is one line of the log.
type Line struct {
	Level   Level
	Message string
}

// String returns the line in the form of fixtures: "warn: too old".
func (l Line) String() string {
	return l.Level.String() + ": " + l.Message
}

const remembered = 1000

var (
	lock  sync.Mutex
	lines []Line
	sink  = remember
)

func remember(level Level, message string) {
	lock.Lock()
	defer lock.Unlock()
	if len(lines) < remembered {
		lines = append(lines, Line{level, message})
	}
}

// SendTo redirects all lines; nephometer/export calls it to send them to the host.
func SendTo(write func(Level, string)) {
	sink = write
}

// Taken returns what was logged without a host since the last call: the first 1,000 lines.
func Taken() []Line {
	lock.Lock()
	defer lock.Unlock()
	taken := lines
	lines = nil
	return taken
}

// Write writes one line.
func Write(level Level, message string) { sink(level, message) }

// Trace writes a detail, for authors.
func Trace(message string) { Write(LevelTrace, message) }

// Debug writes a line for finding faults.
func Debug(message string) { Write(LevelDebug, message) }

// Info writes a line worth knowing.
func Info(message string) { Write(LevelInfo, message) }

// Warn writes that something is unexpected, but the work goes on.
func Warn(message string) { Write(LevelWarn, message) }

// Error writes that something failed.
func Error(message string) { Write(LevelError, message) }
