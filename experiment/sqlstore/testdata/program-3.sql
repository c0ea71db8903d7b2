CREATE TABLE IF NOT EXISTS agiqa_schema (version INTEGER PRIMARY KEY);
UPDATE agiqa_log SET last = last + 1 WHERE id = 1;
INSERT INTO agiqa_experiments (created, revision, state, record, id) VALUES (1, 1, 'draft', '{}', 'old') ON CONFLICT (id) DO NOTHING;
INSERT INTO agiqa_audits (experiment, revision, record) VALUES ('old', 1, '{}');
INSERT INTO agiqa_exposures (seq, id, experiment, assignment, image, blind, record) VALUES (1, 'e', 'old', 'a', x'00', 0, '{}');
INSERT INTO agiqa_feedback (seq, idempotency, experiment, at, assignment, image, image_a, image_b, task, sender, record) VALUES (2, 'f', 'old', 1, 'a', x'00', NULL, NULL, NULL, '', '{}');
INSERT INTO agiqa_keys (id, name, hash, scopes, rater, created, created_by, expires, used, revoked, revoked_by) VALUES ('abcd', 'old', x'0000000000000000000000000000000000000000000000000000000000000000', 'score', '', 1, 'admin', 0, 0, 0, '');
