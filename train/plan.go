package train

import (
	"encoding/json"
	"fmt"
	"strings"

	"gputrain/backend"
	"gputrain/loss"
	"gputrain/model"
	"gputrain/optim"
)

// The encoders of --encoder.
const (
	EncoderAuto   = "auto"
	EncoderLinear = "linear" // sparse weights for hinge losses, dense weights for others
	EncoderEmbed  = "embed"
	EncoderDense  = "dense"
)

// Encoders lists the names of the encoders.
var Encoders = []string{EncoderAuto, EncoderLinear, EncoderEmbed, EncoderDense}

// recipe is a complete plan of how to train: a model, and the step sizes to try.
type recipe struct {
	config    model.Config
	priorBias bool     // start the bias at the labels' log prior
	hinge     bool     // start (and keep) the bias at −m_n
	choices   []choice // to choose from, by validation
	epochs    int
	warmup    float64
	patience  int
}

// choice is a step size with the loss that goes with it.
type choice struct {
	LR   float64   `json:"lr"`
	Loss loss.Spec `json:"loss"`
}

// shape is what the choice of a recipe depends on.
type shape struct {
	rows, labels int
	features     int   // sparse features; 0: none
	dim          int   // dimensions of the vectors; 0: none
	tableWeights int64 // upper bound of the weights of the sparse linear model
	freeBytes    int64 // memory that weights may take; 0: unknown
}

// Measured defaults; docs/measured/quality.md has the figures behind them.
const (
	hingeBatch    = 32
	hingeEpochs   = 10
	vectorEpochs  = 15       // of vectors alone
	hingeStep     = 1.0 / 16 // per row: the step size is this times the batch
	hingeBiasStep = 0.003    // of Adam
	evenMarginPos = 1.2      // of the large step
	evenMarginNeg = 0.8
	manyRows      = 100_000 // with so many, manyEpochs do
	manyEpochs    = 6
	manyLabels    = 2000 // with more labels only hingeStep is tried
	netBatch      = 128
	netEpochs     = 12
	netStep       = 0.01
	netWidth      = 256
	netDropout    = 0.5
	denseWeights  = 1 << 29 // weights of a dense linear model beyond which it is refused
	vectorLRScale = 0.5     // of vectors beside sparse features
)

// plan chooses the recipe. Each choice is reported to say with its reason.
func plan(opt Options, s shape, say func(topic, format string, args ...any)) (recipe, error) {
	spec, err := lossFor(opt)
	if err != nil {
		return recipe{}, err
	}
	auto := spec.Kind == ""
	encoder := opt.Encoder
	if encoder == "" {
		encoder = EncoderAuto
	}
	tableFits := s.freeBytes == 0 || s.tableWeights*8 <= s.freeBytes
	if encoder == EncoderAuto {
		switch {
		case s.features == 0:
			encoder = EncoderDense
			say("encoder", "dense: the rows are vectors of %d dimensions", s.dim)
		case (auto || spec.SparseGrad()) && tableFits:
			encoder = EncoderLinear
			say("encoder", "linear: %d features × %d labels, at most %s weights: exact one-vs-rest with a hinge loss is the most accurate on sparse features, and cheap", s.features, s.labels, millions(s.tableWeights))
		case auto || spec.SparseGrad():
			encoder = EncoderEmbed
			say("encoder", "embed: the linear model's %s weights do not fit in memory", millions(s.tableWeights))
		default:
			encoder = EncoderEmbed
			say("encoder", "embed: %s has a gradient at every label, which suits an embedding better than a linear model of %d × %d", spec.Kind, s.features, s.labels)
		}
	}
	if (encoder == EncoderLinear || encoder == EncoderEmbed) && s.features == 0 {
		return recipe{}, optionError("encoder %s needs text or sparse features, and the rows have vectors only: use --encoder dense", encoder)
	}
	if encoder == EncoderDense && s.dim == 0 {
		return recipe{}, optionError("encoder dense needs vectors, and the rows have none: use --encoder linear or embed")
	}
	if auto {
		if encoder == EncoderEmbed {
			spec = loss.Default(loss.Unified)
			say("loss", "unified: the best measured on embeddings, with its decision at s > 0 and no other constant to tune")
		} else {
			spec = loss.Default(loss.SquaredHinge)
			say("loss", "squared-hinge: on linear models it beat the exponential losses on every set measured; margins %v and %v put the decision at s > 0", spec.MarginPos, spec.MarginNeg)
		}
	}

	r := recipe{epochs: hingeEpochs, patience: opt.Patience, warmup: opt.Warmup, hinge: spec.SparseGrad()}
	r.config = model.Config{Labels: s.labels, Loss: spec, BatchSize: hingeBatch, Seed: opt.Seed}
	linear := encoder == EncoderLinear || encoder == EncoderDense && len(opt.Hidden) == 0
	sgd := linear && r.hinge
	if sgd {
		if s.features == 0 {
			r.epochs = vectorEpochs
		} else if s.rows >= manyRows {
			r.epochs = manyEpochs
		}
		r.choices = []choice{{hingeStep * hingeBatch, spec}}
		if s.labels <= manyLabels && s.features > 0 {
			// The large step leaves no training row within the margins, so that the border lies midway between them.
			even := spec
			if len(opt.LossParam) == 0 {
				even.MarginPos, even.MarginNeg = evenMarginPos, evenMarginNeg
			}
			r.choices = append(r.choices, choice{hingeStep / 2 * hingeBatch, spec}, choice{10 * hingeStep * hingeBatch, even})
		}
	} else {
		r.config.BatchSize, r.epochs, r.choices = netBatch, netEpochs, []choice{{netStep, spec}}
	}
	if opt.BatchSize > 0 {
		if sgd {
			for i := range r.choices {
				r.choices[i].LR *= float64(opt.BatchSize) / hingeBatch
			}
		}
		r.config.BatchSize = opt.BatchSize
	}
	rule := optim.Default(optim.SGD)
	if !sgd {
		rule = optim.Default(optim.AdamW)
	}
	if opt.Optimizer != "" {
		if rule, err = optim.Parse(opt.Optimizer); err != nil {
			return r, err
		}
	}

	switch encoder {
	case EncoderLinear:
		p := model.Part{Kind: model.Table, Inputs: s.features, Rule: rule, LRScale: 1}
		if !r.hinge || rule.Kind != optim.SGD {
			p.Kind = model.Linear
			if n := int64(s.features) * int64(s.labels); n > denseWeights || s.freeBytes > 0 && n*4*int64(1+rule.States()) > s.freeBytes {
				return r, optionError("a dense linear model of %d features × %d labels with %s does not fit: use --loss squared-hinge, whose weights are sparse, or --encoder embed", s.features, s.labels, rule.Kind)
			}
		} else if !tableFits {
			return r, fmt.Errorf("the linear model's %s weights do not fit in memory: raise --min-df, or use --encoder embed: %w", millions(s.tableWeights), backend.ErrOutOfMemory)
		}
		r.config.Parts = append(r.config.Parts, p)
	case EncoderEmbed:
		hidden := opt.Hidden
		if len(hidden) == 0 {
			hidden = []int{netWidth}
		}
		r.config.Parts = append(r.config.Parts, model.Part{
			Kind: model.Embed, Inputs: s.features, Hidden: hidden, Activation: backend.ReLU, Dropout: orElse(opt.Dropout, netDropout), Rule: rule, LRScale: 1,
		})
	}
	if s.dim > 0 {
		p := model.Part{Kind: model.Dense, Inputs: s.dim, Rule: rule, LRScale: 1}
		if encoder == EncoderDense {
			p.Hidden = opt.Hidden
			if len(p.Hidden) > 0 {
				p.Activation, p.Dropout = backend.ReLU, orElse(opt.Dropout, netDropout)
			}
		} else {
			p.LRScale = vectorLRScale
			say("encoder", "the vectors' %d dimensions get a linear model of their own; the logits of both add", s.dim)
		}
		r.config.Parts = append(r.config.Parts, p)
	}
	r.config.BiasRule, r.config.BiasLR = optim.Default(optim.AdamW), hingeBiasStep
	if !r.hinge {
		r.config.BiasLR = netStep
		r.priorBias = linear
	}
	if opt.LR > 0 {
		r.choices = []choice{{opt.LR, spec}}
	}
	if opt.Epochs > 0 {
		r.epochs = opt.Epochs
	}
	return r, nil
}

// lossFor returns the loss that was asked for with its parameters; its kind is empty for auto.
func lossFor(opt Options) (loss.Spec, error) {
	if opt.Loss == "" || opt.Loss == "auto" {
		if len(opt.LossParam) > 0 {
			return loss.Spec{}, optionError("loss parameters need a loss: name one with --loss")
		}
		return loss.Spec{}, nil
	}
	spec, err := loss.Parse(opt.Loss)
	if err != nil || len(opt.LossParam) == 0 {
		return spec, err
	}
	// The JSON names of the fields are the names of the parameters.
	doc, err := json.Marshal(opt.LossParam)
	if err != nil {
		return spec, err
	}
	dec := json.NewDecoder(strings.NewReader(string(doc)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&spec); err != nil {
		return spec, optionError("loss parameter: %v", err)
	}
	return spec, spec.Validate()
}

func orElse(asked, otherwise float64) float64 {
	if asked < 0 {
		return otherwise
	}
	return asked
}

func millions(n int64) string {
	if n < 1e6 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%.1f M", float64(n)/1e6)
}
