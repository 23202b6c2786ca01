-- What each lane's receipts of an epoch sum to. The same text runs embedded and on a server.
-- Units have 48 bits, so they are summed as limbs of 32 bits: below 2^32 rows no limb's sum leaves 64 bits.
-- Settings of a server that would let it stop early and answer with part of the rows are taken back.
SELECT
    epoch,
    lane,
    license_id,
    count() AS receipt_count,
    min(seq) AS first_seq,
    max(seq) AS last_seq,
    sum(bitAnd(units, 4294967295)) AS units_0,
    sum(bitShiftRight(units, 32)) AS units_1,
    argMax(cumulative_0, seq) AS cumulative_0_after,
    argMax(cumulative_1, seq) AS cumulative_1_after,
    argMax(cumulative_2, seq) AS cumulative_2_after
FROM usufruct_receipts
WHERE epoch >= {first:UInt64} AND epoch <= {last:UInt64}
GROUP BY epoch, lane, license_id
ORDER BY epoch, lane, license_id
SETTINGS read_overflow_mode = 'throw', group_by_overflow_mode = 'throw', result_overflow_mode = 'throw',
    timeout_overflow_mode = 'throw'
