package train

import (
	"encoding/json"
	"fmt"
	"slices"

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
	hinge     bool     // start the bias at −m_n
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
	linearBatch   = 32
	linearEpochs  = 10
	vectorEpochs  = 15       // of vectors alone
	manyRows      = 100_000  // with so many, manyEpochs do
	manyEpochs    = 6        //
	hingeStep     = 1.0 / 16 // per row: the step size is this times the batch
	hingeBiasStep = 0.003    // of Adam
	evenMarginPos = 1.2      // of the large step
	evenMarginNeg = 0.8      //
	expStep       = 1.0      // per row, for losses that are not hinges
	manyLabels    = 2000     // with more labels only the first step size is tried
	netBatch      = 128
	netEpochs     = 12
	netManyEpochs = 15   // with many labels
	netStep       = 0.01 // of Adam
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
	encoder, err := chooseEncoder(opt, s, spec, say)
	if err != nil {
		return recipe{}, err
	}
	if spec.Kind == "" {
		if encoder == EncoderEmbed {
			spec = loss.Default(loss.Unified)
			say("loss", "unified: the best measured on embeddings, with its decision at s > 0 and no other constant to tune")
		} else {
			spec = loss.Default(loss.SquaredHinge)
			say("loss", "squared-hinge: on linear models it beat the exponential losses on every set measured; margins %v and %v put the decision at s > 0", spec.MarginPos, spec.MarginNeg)
		}
	}
	linear := encoder == EncoderLinear || encoder == EncoderDense && len(opt.Hidden) == 0
	rule := optim.Default(optim.AdamW)
	if linear {
		// Never a rule with a step size for each weight: it amplifies the tiny gradients of satisfied negatives.
		rule = optim.Default(optim.SGD)
	}
	if opt.Optimizer != "" {
		if rule, err = optim.Parse(opt.Optimizer); err != nil {
			return recipe{}, optionError("%v", err)
		}
	}

	r := recipe{patience: opt.Patience, warmup: opt.Warmup, hinge: spec.SparseGrad(), priorBias: linear && !spec.SparseGrad()}
	r.config = model.Config{Labels: s.labels, Loss: spec, Seed: opt.Seed, BiasRule: optim.Default(optim.AdamW), BiasLR: netStep}
	if linear && rule.Kind == optim.SGD {
		r.linearSteps(opt, s, spec)
	} else {
		r.config.BatchSize, r.epochs, r.choices = orElse(opt.BatchSize, netBatch), netEpochs, []choice{{netStep, spec}}
		if s.labels > manyLabels {
			r.epochs = netManyEpochs
		}
	}
	if r.hinge {
		r.config.BiasLR = hingeBiasStep
	}
	if opt.LR > 0 {
		r.choices = []choice{{opt.LR, spec}}
	}
	r.epochs = orElse(opt.Epochs, r.epochs)
	err = r.addParts(opt, s, encoder, rule, say) // before r is copied out
	return r, err
}

// chooseEncoder returns the encoder asked for, or the one that suits the data and the loss.
func chooseEncoder(opt Options, s shape, spec loss.Spec, say func(topic, format string, args ...any)) (string, error) {
	encoder := opt.Encoder
	switch {
	case (encoder == EncoderLinear || encoder == EncoderEmbed) && s.features == 0:
		return "", optionError("encoder %s needs text or sparse features, and the rows have vectors only: use --encoder dense", encoder)
	case encoder == EncoderDense && s.dim == 0:
		return "", optionError("encoder dense needs vectors, and the rows have none: use --encoder linear or embed")
	case encoder == EncoderLinear && len(opt.Hidden) > 0:
		return "", optionError("a linear encoder has no hidden layers: leave out --hidden, or use --encoder embed or dense")
	case encoder != "" && encoder != EncoderAuto:
		return encoder, nil
	case s.features == 0:
		say("encoder", "dense: the rows are vectors of %d dimensions", s.dim)
		return EncoderDense, nil
	case spec.Kind != "" && !spec.SparseGrad():
		say("encoder", "embed: %s has a gradient at every label, which suits an embedding better than a linear model of %d × %d", spec.Kind, s.features, s.labels)
		return EncoderEmbed, nil
	case !s.tableFits():
		say("encoder", "embed: the linear model's %s weights do not fit in memory", millions(s.tableWeights))
		return EncoderEmbed, nil
	default:
		say("encoder", "linear: %d features × %d labels, at most %s weights: exact one-vs-rest with a hinge loss is the most accurate on sparse features, and cheap", s.features, s.labels, millions(s.tableWeights))
		return EncoderLinear, nil
	}
}

// tableFits tells whether the sparse linear model fits in memory: a weight and its label's id take 8 bytes.
func (s shape) tableFits() bool { return s.freeBytes == 0 || s.tableWeights*8 <= s.freeBytes }

// linearSteps sets batch, epochs and step sizes of a linear model under plain SGD. Step sizes grow with the batch.
func (r *recipe) linearSteps(opt Options, s shape, spec loss.Spec) {
	r.config.BatchSize = orElse(opt.BatchSize, linearBatch)
	scale := float64(r.config.BatchSize)
	switch {
	case s.features == 0:
		r.epochs = vectorEpochs
	case s.rows >= manyRows:
		r.epochs = manyEpochs
	default:
		r.epochs = linearEpochs
	}
	step := expStep
	others := []choice{{expStep / 3 * scale, spec}, {expStep * 3 * scale, spec}}
	if r.hinge {
		// The large step leaves no training row within the margins, so that the border lies midway between them.
		even := spec
		if len(opt.LossParam) == 0 {
			even.MarginPos, even.MarginNeg = evenMarginPos, evenMarginNeg
		}
		step = hingeStep
		others = []choice{{hingeStep / 2 * scale, spec}, {hingeStep * 10 * scale, even}}
	}
	r.choices = []choice{{step * scale, spec}}
	if s.labels <= manyLabels && s.features > 0 {
		r.choices = append(r.choices, others...)
	}
}

// addParts adds the parts of the model, or says why they do not fit.
func (r *recipe) addParts(opt Options, s shape, encoder string, rule optim.Rule, say func(topic, format string, args ...any)) error {
	vectors := model.Part{Kind: model.Dense, Inputs: s.dim, Rule: rule, LRScale: 1}
	hidden := model.Part{Hidden: opt.Hidden, Activation: backend.ReLU, Dropout: netDropout}
	if opt.Dropout >= 0 {
		hidden.Dropout = opt.Dropout
	}
	switch encoder {
	case EncoderLinear:
		p := model.Part{Kind: model.Table, Inputs: s.features, Rule: rule, LRScale: 1}
		if !r.hinge || rule.Kind != optim.SGD || rule.Momentum != 0 {
			p.Kind = model.Linear
			if n := int64(s.features) * int64(s.labels); n > denseWeights || s.freeBytes > 0 && n*4*int64(1+rule.States()) > s.freeBytes {
				return optionError("a dense linear model of %d features × %d labels with %s does not fit: use --loss squared-hinge, whose weights are sparse, or --encoder embed", s.features, s.labels, rule.Kind)
			}
		} else if !s.tableFits() {
			return fmt.Errorf("the linear model's %s weights do not fit in memory: raise --min-df, or use --encoder embed: %w", millions(s.tableWeights), backend.ErrOutOfMemory)
		}
		r.config.Parts = append(r.config.Parts, p)
	case EncoderEmbed:
		p := hidden
		p.Kind, p.Inputs, p.Rule, p.LRScale = model.Embed, s.features, rule, 1
		if len(p.Hidden) == 0 {
			p.Hidden = []int{netWidth}
		}
		r.config.Parts = append(r.config.Parts, p)
	case EncoderDense:
		if len(opt.Hidden) > 0 {
			vectors.Hidden, vectors.Activation, vectors.Dropout = hidden.Hidden, hidden.Activation, hidden.Dropout
		}
	}
	if s.dim > 0 {
		if encoder != EncoderDense {
			vectors.LRScale = vectorLRScale
			say("encoder", "the vectors' %d dimensions get a linear model of their own; the logits of both add", s.dim)
		}
		r.config.Parts = append(r.config.Parts, vectors)
	}
	return nil
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
	for name := range opt.LossParam {
		if known := spec.Kind.Params(); !slices.Contains(known, name) {
			return spec, optionError("loss %s has no parameter %q; it has %q", spec.Kind, name, known)
		}
	}
	// The JSON names of the fields are the names of the parameters.
	doc, err := json.Marshal(opt.LossParam)
	if err != nil {
		return spec, err
	}
	if err := json.Unmarshal(doc, &spec); err != nil {
		return spec, err
	}
	return spec, spec.Validate()
}

// orElse returns what was asked for, or otherwise where that is 0.
func orElse(asked, otherwise int) int {
	if asked > 0 {
		return asked
	}
	return otherwise
}

func millions(n int64) string {
	if n < 1e6 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%.1f M", float64(n)/1e6)
}
