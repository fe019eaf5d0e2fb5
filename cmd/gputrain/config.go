package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

// setting is one value of a configuration file; a list has one setting for each element.
type setting struct {
	key, value string
	line       int
}

// parseConfig reads a mapping from names of flags to values or lists of values. Values stay as they are written.
func parseConfig(r io.Reader) ([]setting, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(r)
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want lines of the form name: value", root.Line)
	}
	var settings []setting
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key must be the name of a flag", key.Line)
		}
		if seen[key.Value] {
			return nil, fmt.Errorf("line %d: %s is set twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		values := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			values = value.Content
		}
		for _, v := range values {
			if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
				return nil, fmt.Errorf("line %d: %s: want a value or a list of values", v.Line, key.Value)
			}
			settings = append(settings, setting{key.Value, v.Value, v.Line})
		}
	}
	return settings, nil
}

// applyConfig sets what --config says, except for flags that the command line or the environment has set. A file may serve
// several verbs: keys that only other verbs have are passed over.
func applyConfig(c *cli.Context) error {
	path := c.String("config")
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return usagef("--config: %v", err)
	}
	defer file.Close()
	settings, err := parseConfig(file)
	if err != nil {
		return usagef("%s: %v", path, err)
	}
	var known []string
	for _, command := range c.App.Commands {
		known = append(known, flagNames(command.Flags)...)
	}
	known = slices.DeleteFunc(known, func(name string) bool { return name == "config" || name == "help" || name == "h" })
	own := flagNames(c.Command.Flags)
	given := map[string]bool{}
	for _, name := range own {
		given[name] = c.IsSet(name)
	}
	for _, s := range settings {
		switch {
		case !slices.Contains(known, s.key):
			return usagef("%s:%d: %v", path, s.line, unknown("key", s.key, known))
		case !slices.Contains(own, s.key) || given[s.key]:
			continue
		}
		if err := c.Set(s.key, s.value); err != nil {
			return usagef("%s:%d: %s: invalid value %q: %v", path, s.line, s.key, s.value, err)
		}
	}
	return nil
}
