// Package config owns what the operator wrote: it reads the document, its
// includes, the environment and the secret files, checks all of it, and
// returns either a Config or every problem at once with file, line and path.
//
// It does not own anything that runs. It imports nothing of the gateway, opens
// no listener and keeps no goroutine, so a document can be checked anywhere.
//
// The structs are the language: struct tags hold names, defaults and limits,
// doc comments hold the meaning, and both the JSON Schema and the reference
// page are generated from them.
package config

//go:generate go run ./gen
