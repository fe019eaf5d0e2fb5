// Package data reads labelled rows from files and hands them on as host matrices.
package data
