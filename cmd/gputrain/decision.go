package main

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"gputrain/classifier"
	"gputrain/decide"
)

func decisionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Category: catModel, Name: "decide", Value: "stored", Usage: "`RULE` in the place of the model's: stored, zero, global:T, top-n:N:T, argmax"},
		&cli.IntFlag{Category: catModel, Name: "min-labels", DefaultText: "as the model's rule", Usage: "1: a row gets at least its best label"},
	}
}

// openModel loads --model on the device, with the rule to decide by.
func (r *invocation) openModel() (*classifier.Classifier, decide.Rule, usedDevice, error) {
	dev, used, err := r.openDevice()
	if err != nil {
		return nil, decide.Rule{}, used, err
	}
	c, err := classifier.Load(r.String("model"), dev)
	if err != nil {
		return nil, decide.Rule{}, used, err
	}
	c.Threads = r.Int("threads")
	rule, err := r.rule(c.Rule, len(c.Labels))
	if err != nil {
		c.Close()
		return nil, rule, used, err
	}
	return c, rule, used, nil
}

// rule returns the model's rule, or the one that --decide and --min-labels ask for.
func (r *invocation) rule(stored decide.Rule, labels int) (decide.Rule, error) {
	rule, err := parseRule(r.String("decide"), stored)
	if err != nil {
		return rule, err
	}
	if r.IsSet("min-labels") {
		rule.MinLabels = r.Int("min-labels")
	}
	if err := rule.Validate(labels); err != nil {
		return rule, usagef("%v", err)
	}
	return rule, nil
}

// parseRule reads a rule: its name and, after colons, its numbers.
func parseRule(s string, stored decide.Rule) (decide.Rule, error) {
	kind, rest, _ := strings.Cut(s, ":")
	var args []string
	if rest != "" {
		args = strings.Split(rest, ":")
	}
	rule := decide.Rule{Kind: decide.Kind(kind)}
	want := map[string]string{"stored": "stored", "zero": "zero", "argmax": "argmax", "global": "global:T", "top-n": "top-n:N:T"}[kind]
	if want == "" {
		return rule, unknown("rule", kind, []string{"stored", "zero", "global", "top-n", "argmax"})
	}
	if len(args) != strings.Count(want, ":") {
		return rule, usagef("--decide %s: want %s", s, want)
	}
	var err error
	switch kind {
	case "stored":
		return stored, nil
	case "global":
		rule.Threshold, err = parseThreshold(args[0])
	case "top-n":
		if rule.N, err = strconv.Atoi(args[0]); err == nil {
			rule.Threshold, err = parseThreshold(args[1])
		}
	}
	if err != nil {
		return rule, usagef("--decide %s: want %s with numbers", s, want)
	}
	return rule, nil
}

func parseThreshold(s string) (float32, error) {
	t, err := strconv.ParseFloat(s, 32)
	return float32(t), err
}

// decision is a rule as results show it: without the thresholds of each label.
type decision struct {
	decide.Rule
	Text string `json:"text"`
}

func showDecision(rule decide.Rule) decision {
	text := rule.String()
	rule.Thresholds = nil
	return decision{rule, text}
}
