// Package nephometer is for authors of transformers and publishers in Go.
//
// Write a type that is a [Transformer] (and [Stateful], if it has state), and export it in the init
// function of a main package with nephometer/export. A [Publisher] is exported with
// nephometer/exportpublisher. The helpers:
//
//   - [Rows] iterates over a batch, each row with its meter and resource;
//   - [Cache] keeps a value per meter or resource, for work that need not be done per row;
//   - [AnswerBuilder] builds the answer and numbers new meters and resources by content;
//   - [OptionReader] reads the options and collects all errors, each with its place; [URLOptions]
//     reads those of a publisher;
//   - nephometer/http sends requests, and turns responses into results;
//   - [Complaint] writes one log line for all rows of a batch with the same problem;
//   - nephometer/log writes to the component's log.
//
// All but the packages of exports works in any Go program, so components are tested with go test and
// nephometer/nephometertest, without a host. A component has no files, its random numbers are the
// same in every instance, and its clock moves only when a goroutine sleeps, which takes no time.
package nephometer
