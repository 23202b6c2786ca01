-- Everything one node knows. uint96 and uint128 values are 16 bytes, big endian; SQLite integers have 63 bits.

-- What this database belongs to: chain id, settlement contract, signer. Never changes.
CREATE TABLE identity (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Registered lanes, as last read from the chain. lane_id is local: the registry's numbers may move in a reorg.
-- conflict_seq: lowest seq for which the lane signed two histories; nothing from it on is counted.
CREATE TABLE lanes (
    lane_id       INTEGER PRIMARY KEY,
    lane          BLOB    NOT NULL UNIQUE CHECK (length(lane) = 20),
    license_id    INTEGER NOT NULL,
    valid_from_ms INTEGER NOT NULL,
    valid_to_ms   INTEGER NOT NULL,
    unit_cap      BLOB    NOT NULL CHECK (length(unit_cap) = 16),
    conflict_seq  INTEGER
) STRICT;

-- The 104-byte record of each receipt. cumulativeUnits follows from a checkpoint; no usage root is NULL.
CREATE TABLE receipts (
    lane_id      INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    usage_root   BLOB,
    request_hash BLOB    NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    PRIMARY KEY (lane_id, seq)
) STRICT, WITHOUT ROWID;

-- The usage lists behind usage roots.
CREATE TABLE openings (
    lane_id    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    usage_list BLOB    NOT NULL,
    PRIMARY KEY (lane_id, seq)
) STRICT, WITHOUT ROWID;

-- What lanes signed. Every receipt held lies below one of them; the frontier counts on from there.
CREATE TABLE checkpoints (
    lane_id           INTEGER NOT NULL,
    count             INTEGER NOT NULL,
    cumulative_units  BLOB    NOT NULL CHECK (length(cumulative_units) = 16),
    receipts_root     BLOB    NOT NULL CHECK (length(receipts_root) = 32),
    signature         BLOB    NOT NULL CHECK (length(signature) = 65),
    last_issued_at_ms INTEGER NOT NULL,
    frontier          BLOB    NOT NULL,
    PRIMARY KEY (lane_id, count)
) STRICT, WITHOUT ROWID;

-- Two histories signed by one lane: a batch of ours and a batch of theirs that begin at the same seq.
CREATE TABLE evidence (
    evidence_id INTEGER PRIMARY KEY,
    lane_id     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    ours        BLOB    NOT NULL,
    theirs      BLOB    NOT NULL,
    UNIQUE (lane_id, theirs)
) STRICT;

-- Refused input of registered lanes, with the reason; the oldest makes room.
CREATE TABLE quarantine (
    quarantine_id INTEGER PRIMARY KEY,
    lane          BLOB    NOT NULL,
    seq           INTEGER,
    code          TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    size          INTEGER NOT NULL,
    sha256        BLOB    NOT NULL,
    head          BLOB    NOT NULL
) STRICT;

CREATE TABLE rosters (
    root BLOB PRIMARY KEY CHECK (length(root) = 32),
    body BLOB NOT NULL
) STRICT;

-- One row per epoch this node froze, written together with its frozen heads.
CREATE TABLE epochs (
    epoch             INTEGER PRIMARY KEY,
    cutoff_block      INTEGER NOT NULL,
    cutoff_block_hash BLOB    NOT NULL CHECK (length(cutoff_block_hash) = 32),
    cutoff_time_s     INTEGER NOT NULL
) STRICT;

CREATE TABLE frozen_heads (
    epoch   INTEGER NOT NULL REFERENCES epochs,
    lane_id INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (epoch, lane_id)
) STRICT, WITHOUT ROWID;

-- One per (epoch, attempt), and only the first that was accepted: a vector is never replaced.
CREATE TABLE vectors (
    epoch   INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    PRIMARY KEY (epoch, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    epoch       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    report_hash BLOB    NOT NULL CHECK (length(report_hash) = 32),
    bundle_hash BLOB    NOT NULL CHECK (length(bundle_hash) = 32),
    body        TEXT    NOT NULL,
    PRIMARY KEY (epoch, attempt)
) STRICT, WITHOUT ROWID;

-- Bundle files by content. `bundles` outlives the restricted content, so that the hash stays explained.
CREATE TABLE contents (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    body   BLOB NOT NULL
) STRICT;

CREATE TABLE bundles (
    epoch       INTEGER NOT NULL,
    bundle_hash BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    sha256      BLOB    NOT NULL,
    size        INTEGER NOT NULL,
    PRIMARY KEY (epoch, bundle_hash, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE votes (
    epoch        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    signer       BLOB    NOT NULL CHECK (length(signer) = 20),
    signer_index INTEGER NOT NULL,
    report_hash  BLOB    NOT NULL,
    bundle_hash  BLOB    NOT NULL,
    signature    BLOB,
    PRIMARY KEY (epoch, attempt, signer)
) STRICT, WITHOUT ROWID;

-- What this node's key signed. A second or lower (epoch, attempt) can never enter, whatever the code does.
CREATE TABLE signed (
    epoch       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    report_hash BLOB    NOT NULL,
    signature   BLOB    NOT NULL,
    PRIMARY KEY (epoch, attempt)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER signed_only_increases BEFORE INSERT ON signed
WHEN EXISTS (SELECT 1 FROM signed WHERE (epoch, attempt) >= (NEW.epoch, NEW.attempt))
BEGIN
    SELECT RAISE(ABORT, 'this (epoch, attempt) or a later one is already signed');
END;

-- Lower epochs are not signed: they were cut off before this database was made, and its key may have signed them.
CREATE TABLE signing_floor (
    epoch INTEGER NOT NULL
) STRICT;

-- Finalized reports whose bundle this node holds and checked: the base of the next epoch.
CREATE TABLE finalized (
    epoch       INTEGER PRIMARY KEY,
    report_hash BLOB    NOT NULL,
    bundle_hash BLOB    NOT NULL,
    attempt     INTEGER NOT NULL,
    note_count  INTEGER NOT NULL,
    is_paid     INTEGER NOT NULL DEFAULT 0
) STRICT;
