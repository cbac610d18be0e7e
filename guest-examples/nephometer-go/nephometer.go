// Package nephometer is what authors of transformers in Go build on.
//
// Write a type that is a [Transformer] (and [Stateful], if it remembers), and export it in the init
// function of a main package with nephometer/export. The rest makes the columns pleasant:
//
//   - [Rows] walks the columns of a batch, row by row;
//   - [AnswerBuilder] makes the answer and numbers new meters and resources by their content;
//   - [OptionReader] reads the options and collects all that is wrong, each with its place;
//   - [Complaint] makes one line of log of all rows of a batch that have the same trouble;
//   - nephometer/log writes to the component's log.
//
// Everything but nephometer/export works in any Go, so components are tested with go test and need
// no host. A component has no files, its randomness is the same in every instance, and its clock moves
// only when a goroutine sleeps, which takes no time.
package nephometer
