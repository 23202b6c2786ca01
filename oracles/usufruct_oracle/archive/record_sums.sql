-- How much each record was used, per license. The same text runs embedded and on a server.
-- A weight has 32 bits: below 2^32 rows its sum does not leave 64 bits.
-- Settings of a server that would let it stop early and answer with part of the rows are taken back.
SELECT
    license_id,
    record_tag,
    count() AS entry_count,
    sum(toUInt64(weight)) AS total_weight
FROM usufruct_usage
WHERE epoch >= {first:UInt64} AND epoch <= {last:UInt64}
GROUP BY license_id, record_tag
ORDER BY license_id, record_tag
SETTINGS read_overflow_mode = 'throw', group_by_overflow_mode = 'throw', result_overflow_mode = 'throw',
    timeout_overflow_mode = 'throw'
