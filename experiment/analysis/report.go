package analysis

import (
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

// Format names the JSON document of a [Report].
const Format = "agiqa-experiment-report/1"

// Report is everything that is concluded from the records up to a phase.
type Report struct {
	Format     string                `json:"format"`
	Generated  time.Time             `json:"generated"`
	Log        Log                   `json:"log"`
	Experiment experiment.Experiment `json:"experiment"`
	Notes      []string              `json:"notes,omitempty"` // what can't be told of earlier phases, in words
	Settings   Settings              `json:"settings"`
	Quality    Quality               `json:"data_quality"`
	Decision   Decision              `json:"decision"`
	Promotions []Promotion           `json:"promotions"`
	Power      []Power               `json:"power"`
	Arms       []Arm                 `json:"arms"`
	Agreement  Agreement             `json:"agreement"`
	Preference Preference            `json:"preferences"`
	Users      UserOutcomes          `json:"user_outcomes"`
	Pooled     *UserOutcomes         `json:"user_outcomes_pooled,omitempty"` // of all phases up to this one, of units that had one arm throughout
	Interleave Interleaving          `json:"interleaving"`
	Slices     []Slice               `json:"slices"` // exploratory
	Worst      []Disagreement        `json:"worst_disagreements"`
	Guards     []Guard               `json:"guardrails"`
	Pictures   Pictures              `json:"pictures"`
}

// Settings repeat how the figures were made.
type Settings struct {
	Resamples  int      `json:"bootstrap_resamples"`
	Groups     int      `json:"bootstrap_groups,omitempty"` // of the jackknife; 0: every image by itself
	Seed       uint64   `json:"bootstrap_seed"`
	Confidence Number   `json:"confidence"`
	Limits     Limits   `json:"limits"`
	Sampling   Sampling `json:"sampling"`
}

// Quality says whether the data can be trusted. It is to be read first.
type Quality struct {
	OK            bool         `json:"ok"`
	Faults        []string     `json:"faults,omitempty"`  // in words
	AA            bool         `json:"aa"`                // all arms have one checkpoint: nothing may be found
	AANote        string       `json:"aa_note,omitempty"` // in words, where an arm has the control's checkpoint
	MissingScores []int        `json:"missing_scores"`    // labelled images without a score, by arm
	Unstable      []int        `json:"unstable_scores"`   // images whose score changed by more than 0.001 between exposures, by arm
	Superseded    int          `json:"superseded"`
	Contradictory int          `json:"contradictory"`
	Orphans       int          `json:"orphans"`
	Late          int          `json:"late"`
	NotBlind      int          `json:"not_blind"`       // labels given with a score in view
	OddValues     int          `json:"odd_values"`      // feedback that says nothing that is known
	OtherEncoder  int          `json:"other_encoder"`   // exposures of another encoder or preparation
	Raters        []Rater      `json:"raters"`          // the first hundred
	RatersFlagged int          `json:"raters_flagged"`  // by the screening
	WithoutFlag   []Comparison `json:"without_flagged"` // the comparisons without those raters
}

// Rater is how one rater stands to the others.
type Rater struct {
	Rater   string `json:"rater"` // keyed hash
	Labels  int    `json:"labels"`
	Far     int    `json:"far"` // of those that could be judged, far from the image's others
	Judged  int    `json:"judged"`
	Flagged bool   `json:"flagged"`
}

// Power is what the labels so far could find.
type Power struct {
	Arm         experiment.ArmID `json:"arm"`
	MDE         Number           `json:"mde"`            // smallest effect found with 80 % in one look
	ToGo        Number           `json:"labels_to_go"`   // of the sequence, for the smallest effect of interest
	ToGoOneLook Number           `json:"one_look_to_go"` // if it were read once at the end
}

// Arm is what was counted of one arm.
type Arm struct {
	Arm       experiment.ArmID `json:"arm"`
	Role      experiment.Role  `json:"role"`
	Mode      experiment.Mode  `json:"mode"`
	Out       bool             `json:"out"`
	Exposures int              `json:"exposures"` // in which it was shown
	OK        int              `json:"ok"`
	Cached    int              `json:"cached"`
	Units     int              `json:"units"`
	Statuses  map[string]int   `json:"statuses"`
	Scores    int              `json:"scores"` // that it gave, shown or not
	Faults    map[string]int   `json:"faults"`
	HeadP50   Number           `json:"head_ms_p50"`
	HeadP99   Number           `json:"head_ms_p99"`
	TotalP50  Number           `json:"total_ms_p50"`
	TotalP99  Number           `json:"total_ms_p99"`
	Drift     Drift            `json:"drift"`
}

// Drift compares an arm's scores of distinct images with its first ones, and with
// the control's of the same images.
type Drift struct {
	Images          int    `json:"images"`
	Mean            Number `json:"mean"`
	SD              Number `json:"sd"`
	Reference       int    `json:"reference"` // images, the first ones
	PSI             Number `json:"psi"`
	KS              Number `json:"ks"`
	KSP             Number `json:"ks_p"`
	PSIControl      Number `json:"psi_control"`
	MeanOverControl Number `json:"mean_over_control"` // mean difference on the same images
	SDOverControl   Number `json:"sd_over_control"`
	AtEnds          Number `json:"at_ends"` // share of scores equal to the smallest or the largest seen
}

// Agreement is how well arms agree with labels.
type Agreement struct {
	Basis       Basis          `json:"basis"`
	Images      int            `json:"images"`
	Labels      int            `json:"labels"`
	Raters      int            `json:"raters"`
	Calibration int            `json:"calibration_images"` // that mappings were fitted on; mapped figures are of the others
	Arms        []ArmAgreement `json:"arms"`
	Notes       []string       `json:"notes,omitempty"`
}

// ArmAgreement is one arm's.
type ArmAgreement struct {
	Arm         experiment.ArmID  `json:"arm"`
	Figures     []Figure          `json:"figures"`
	Krasula     *Krasula          `json:"krasula,omitempty"`
	Logistic4   []float64         `json:"logistic4,omitempty"`
	Logistic5   []float64         `json:"logistic5,omitempty"`
	Differences []Difference      `json:"differences,omitempty"` // to the control
	Tests       []CorrelationTest `json:"tests,omitempty"`
}

// Mapping of scores before a figure is computed.
type Mapping string

// The mappings.
const (
	Raw       Mapping = "raw"
	Logistic4 Mapping = "logistic4"
	Logistic5 Mapping = "logistic5"
)

// Figure is a measure of agreement with its BCa interval over images.
type Figure struct {
	Metric  stats.Metric `json:"metric"`
	Mapping Mapping      `json:"mapping"`
	Value   Number       `json:"value"`
	Low     Number       `json:"low"`
	High    Number       `json:"high"`
}

// Difference is a treatment's figure against the control's, turned so that above 0
// is better, on the same resamples.
type Difference struct {
	Metric    stats.Metric `json:"metric"`
	Mapping   Mapping      `json:"mapping"`
	Effect    Number       `json:"effect"`
	Low       Number       `json:"low"`
	High      Number       `json:"high"`
	LowRater  Number       `json:"low_raters"` // raters drawn too
	HighRater Number       `json:"high_raters"`
	P         Number       `json:"p"`
	PHolm     Number       `json:"p_holm"` // after Holm, over arms and metrics
}

// CorrelationTest is a test for two dependent correlations with the labels.
type CorrelationTest struct {
	Correlation stats.Metric `json:"correlation"` // plcc, srcc
	Test        string       `json:"test"`        // williams, steiger, meng
	Statistic   Number       `json:"statistic"`
	DF          Number       `json:"df"`
	P           Number       `json:"p"`
}

// Krasula is how well scores tell pairs of images apart as people do.
type Krasula struct {
	DifferentSimilar Number `json:"auc_different_similar"`
	BetterWorse      Number `json:"auc_better_worse"`
	Correct          Number `json:"correct"`
	Different        int    `json:"pairs_different"`
	Similar          int    `json:"pairs_similar"`
}

// Preference is how often scores prefer what people prefer.
type Preference struct {
	Basis      Basis               `json:"basis"`
	Pairs      int                 `json:"pairs"`
	Votes      int                 `json:"votes"`
	Ties       int                 `json:"ties"`
	Arms       []PreferenceArm     `json:"arms"`
	Treatments []PreferenceAgainst `json:"treatments"`
}

// PreferenceArm is one arm's.
type PreferenceArm struct {
	Arm      experiment.ArmID `json:"arm"`
	Accuracy Number           `json:"accuracy"` // 2AFC; ties are half
	SE       Number           `json:"se"`
	Ability  Number           `json:"bradley_terry"` // log strength among the arms
	SEOf     Number           `json:"bradley_terry_se"`
}

// PreferenceAgainst is a treatment's against the control.
type PreferenceAgainst struct {
	Arm         experiment.ArmID `json:"arm"`
	OnlyArm     int              `json:"only_arm"` // pairs of which the treatment predicts more votes
	OnlyControl int              `json:"only_control"`
	McNemar     Number           `json:"mcnemar_p"`
	AnytimeP    Number           `json:"anytime_p"` // e-process, a pair being one observation whoever voted
	ShareLow    Number           `json:"share_low"` // of only_arm among both, anytime-valid
	ShareHigh   Number           `json:"share_high"`
	Note        string           `json:"note,omitempty"`
}

// Interleaving is who placed the images that were chosen.
type Interleaving struct {
	Choices int         `json:"choices"`
	Orphans int         `json:"orphans"`
	Arms    []CreditArm `json:"arms"`
}

// CreditArm is one arm's.
type CreditArm struct {
	Arm      experiment.ArmID `json:"arm"`
	Credits  int              `json:"credits"`
	P        Number           `json:"p"` // against the control, exact sign test
	AnytimeP Number           `json:"anytime_p"`
}

// Slice is the primary loss difference on images of one kind. It is exploratory:
// nothing may be decided by it.
type Slice struct {
	Attribute   string           `json:"attribute"`
	Value       string           `json:"value"`
	Arm         experiment.ArmID `json:"arm"`
	Images      int              `json:"images"`
	Effect      Number           `json:"effect"`
	SE          Number           `json:"se"`
	Shrunk      Number           `json:"shrunk"` // towards the mean of the attribute's slices
	ShrunkSE    Number           `json:"shrunk_se"`
	Kept        Number           `json:"kept"`
	Exploratory bool             `json:"exploratory"`
}

// Disagreement is an image that an arm judged far from its raters.
type Disagreement struct {
	Image  string           `json:"image_sha256"`
	Trace  string           `json:"trace_id"`
	Label  Number           `json:"label"`
	Raters int              `json:"raters"`
	Scores []Number         `json:"scores"` // by arm
	Error  Number           `json:"error"`  // the largest, score less label
	Arm    experiment.ArmID `json:"arm"`    // whose it is
}
