// Package log is the component's own log.
//
// Without a host the lines go to a small memory, for tests to look at with [Taken].
package log

import "sync"

// Level is how much a line matters.
type Level uint8

// The levels, in the order of the contract.
const (
	LevelTrace Level = iota // Every detail, for the author.
	LevelDebug              // For finding faults.
	LevelInfo               // Worth knowing.
	LevelWarn               // Something is not as it should be; work goes on.
	LevelError              // Something failed.
)

// String gives the level as a word.
func (l Level) String() string {
	return [...]string{"trace", "debug", "info", "warn", "error"}[l]
}

// Line is one line of log.
type Line struct {
	Level   Level
	Message string
}

// String gives the line as fixtures have it: "warn: too old".
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

// SendTo sends all lines to the host's log; nephometer/export does it.
func SendTo(write func(Level, string)) {
	sink = write
}

// Taken gives what has been logged since this was last asked, without a host: the first 1,000 lines.
func Taken() []Line {
	lock.Lock()
	defer lock.Unlock()
	taken := lines
	lines = nil
	return taken
}

// Write writes one line.
func Write(level Level, message string) { sink(level, message) }

// Trace writes a detail, for the author.
func Trace(message string) { Write(LevelTrace, message) }

// Debug writes what helps to find faults.
func Debug(message string) { Write(LevelDebug, message) }

// Info writes what is worth knowing.
func Info(message string) { Write(LevelInfo, message) }

// Warn writes that something is not as it should be; work goes on.
func Warn(message string) { Write(LevelWarn, message) }

// Error writes that something failed.
func Error(message string) { Write(LevelError, message) }
