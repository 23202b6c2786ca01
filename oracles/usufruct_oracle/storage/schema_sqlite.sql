-- Everything one node knows. uint96 and uint128 values are 16 bytes, big endian; integers have 63 bits.
-- schema_postgres.sql has the same tables and columns, in the same order; a test compares them. This file is run
-- at every start, so a new table needs nothing else; a new column comes last, with a step in sqlite_engine.py.

-- What this database belongs to: chain id, settlement contract, signer. Never changes.
CREATE TABLE IF NOT EXISTS identity (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Registered lanes, as last read from the chain. lane_id is local: the registry's numbers may move in a reorg.
-- conflict_seq: lowest seq for which the lane signed two histories; nothing from it on is counted.
CREATE TABLE IF NOT EXISTS lanes (
    lane_id       INTEGER PRIMARY KEY,
    lane          BLOB    NOT NULL UNIQUE CHECK (length(lane) = 20),
    license_id    INTEGER NOT NULL,
    valid_from_ms INTEGER NOT NULL,
    valid_to_ms   INTEGER NOT NULL,
    unit_cap      BLOB    NOT NULL CHECK (length(unit_cap) = 16),
    conflict_seq  INTEGER
) STRICT;

-- How many receipts of a lane the last finalized report counts; the usage lists below are not needed any more.
CREATE TABLE IF NOT EXISTS finalized_heads (
    lane  BLOB    NOT NULL PRIMARY KEY CHECK (length(lane) = 20),
    count INTEGER NOT NULL
) STRICT;

-- The 104-byte record of each receipt. cumulativeUnits follows from a checkpoint; no usage root is NULL.
CREATE TABLE IF NOT EXISTS receipts (
    lane_id      INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    usage_root   BLOB,
    request_hash BLOB    NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    PRIMARY KEY (lane_id, seq)
) STRICT, WITHOUT ROWID;

-- The usage lists behind usage roots, until some epochs after their receipts were counted (see retention.py).
CREATE TABLE IF NOT EXISTS openings (
    lane_id    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    usage_list BLOB    NOT NULL,
    PRIMARY KEY (lane_id, seq)
) STRICT, WITHOUT ROWID;

-- What lanes signed. Every receipt held lies below one of them; the frontier counts on from there.
CREATE TABLE IF NOT EXISTS checkpoints (
    lane_id           INTEGER NOT NULL,
    count             INTEGER NOT NULL,
    cumulative_units  BLOB    NOT NULL CHECK (length(cumulative_units) = 16),
    receipts_root     BLOB    NOT NULL CHECK (length(receipts_root) = 32),
    signature         BLOB    NOT NULL CHECK (length(signature) = 65),
    last_issued_at_ms INTEGER NOT NULL,
    frontier          BLOB    NOT NULL,
    PRIMARY KEY (lane_id, count)
) STRICT, WITHOUT ROWID;

-- Two histories signed by one lane: a batch of ours and a batch of theirs that begin at the same seq. Only those that
-- part earliest, so that a lane which goes on lying fills no disk.
CREATE TABLE IF NOT EXISTS evidence (
    evidence_id INTEGER PRIMARY KEY,
    lane_id     INTEGER NOT NULL UNIQUE,
    seq         INTEGER NOT NULL,
    ours        BLOB    NOT NULL,
    theirs      BLOB    NOT NULL
) STRICT;

-- Refused input of registered lanes, with the reason; per lane the oldest makes room.
CREATE TABLE IF NOT EXISTS quarantine (
    quarantine_id INTEGER PRIMARY KEY,
    lane          BLOB    NOT NULL,
    seq           INTEGER,
    code          TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    size          INTEGER NOT NULL,
    sha256        BLOB    NOT NULL,
    head          BLOB    NOT NULL,
    received_at_s INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX IF NOT EXISTS quarantine_by_lane ON quarantine (lane, quarantine_id);

CREATE TABLE IF NOT EXISTS rosters (
    root BLOB PRIMARY KEY CHECK (length(root) = 32),
    body BLOB NOT NULL
) STRICT;

-- One row per epoch this node froze, written together with its frozen heads.
CREATE TABLE IF NOT EXISTS epochs (
    epoch             INTEGER PRIMARY KEY,
    cutoff_block      INTEGER NOT NULL,
    cutoff_block_hash BLOB    NOT NULL CHECK (length(cutoff_block_hash) = 32),
    cutoff_time_s     INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS frozen_heads (
    epoch   INTEGER NOT NULL REFERENCES epochs,
    lane_id INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (epoch, lane_id)
) STRICT, WITHOUT ROWID;

-- One per (epoch, attempt), and only the first that was accepted: a vector is never replaced.
CREATE TABLE IF NOT EXISTS vectors (
    epoch   INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    PRIMARY KEY (epoch, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS reports (
    epoch       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    report_hash BLOB    NOT NULL CHECK (length(report_hash) = 32),
    bundle_hash BLOB    NOT NULL CHECK (length(bundle_hash) = 32),
    body        TEXT    NOT NULL,
    PRIMARY KEY (epoch, attempt)
) STRICT, WITHOUT ROWID;

-- Bundle files by content. `bundles` outlives the restricted content, so that the hash stays explained.
CREATE TABLE IF NOT EXISTS contents (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    body   BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS bundles (
    epoch       INTEGER NOT NULL,
    bundle_hash BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    sha256      BLOB    NOT NULL,
    size        INTEGER NOT NULL,
    PRIMARY KEY (epoch, bundle_hash, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS votes (
    epoch        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    signer       BLOB    NOT NULL CHECK (length(signer) = 20),
    signer_index INTEGER NOT NULL,
    report_hash  BLOB    NOT NULL,
    bundle_hash  BLOB    NOT NULL,
    signature    BLOB,
    possession   BLOB    NOT NULL CHECK (length(possession) = 32),
    PRIMARY KEY (epoch, attempt, signer)
) STRICT, WITHOUT ROWID;

-- What this node's key signed, or was asked to sign. A second or lower (epoch, attempt) can never enter, whatever the
-- code does; a signature is added once and then stays.
CREATE TABLE IF NOT EXISTS signed (
    epoch       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    report_hash BLOB    NOT NULL,
    signature   BLOB,
    PRIMARY KEY (epoch, attempt)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS signed_only_increases BEFORE INSERT ON signed
WHEN EXISTS (SELECT 1 FROM signed WHERE (epoch, attempt) >= (NEW.epoch, NEW.attempt))
BEGIN
    SELECT RAISE(ABORT, 'this (epoch, attempt) or a later one is already signed');
END;

CREATE TRIGGER IF NOT EXISTS signed_stays BEFORE UPDATE ON signed
WHEN OLD.signature IS NOT NULL
    OR (NEW.epoch, NEW.attempt, NEW.report_hash) <> (OLD.epoch, OLD.attempt, OLD.report_hash)
BEGIN
    SELECT RAISE(ABORT, 'what was signed is not changed');
END;

-- Lower epochs are not signed: they were cut off before this database was made, and its key may have signed them.
CREATE TABLE IF NOT EXISTS signing_floor (
    epoch INTEGER NOT NULL
) STRICT;

-- Finalized reports whose bundle this node holds and checked: the base of the next epoch.
CREATE TABLE IF NOT EXISTS finalized (
    epoch       INTEGER PRIMARY KEY,
    report_hash BLOB    NOT NULL,
    bundle_hash BLOB    NOT NULL,
    attempt     INTEGER NOT NULL,
    note_count  INTEGER NOT NULL,
    is_paid     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Why this node did not sign an epoch by itself: what a person looks at and approves. Numbers are decimal texts.
CREATE TABLE IF NOT EXISTS holds (
    epoch     INTEGER NOT NULL,
    guard     TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    threshold TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    PRIMARY KEY (epoch, guard, subject)
) STRICT, WITHOUT ROWID;

-- What the chain said of each license when this node last signed. It never changes; another answer is held.
CREATE TABLE IF NOT EXISTS signed_terms (
    license_id INTEGER PRIMARY KEY,
    terms      TEXT    NOT NULL
) STRICT;
