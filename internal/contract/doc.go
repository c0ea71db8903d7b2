// Package contract holds answers against an OpenAPI 3.1 document: an exchange
// that the document doesn't describe is a fault, and so is a body that a JSON
// Schema validator (draft 2020-12) rejects. Tests of the server send every
// request through it. It knows OpenAPI and one rule of this project: no text of
// a problem names a Go type.
package contract
