-- The same buckets as before, found in a list of where each begins (the least n with n^4 >= 2^bucket) instead of by a logarithm of
-- arbitrary precision, which took a tenth of what settling a dispatch takes.
CREATE OR REPLACE FUNCTION latency_bucket(duration_ms integer) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(width_bucket(duration_ms, ARRAY[
        2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 23, 27, 32, 39, 46, 54, 64, 77, 91, 108, 128, 153, 182, 216,
        256, 305, 363, 431, 512, 609, 725, 862, 1024, 1218, 1449, 1723, 2048, 2436, 2897, 3445, 4096, 4871, 5793, 6889,
        8192, 9742, 11586, 13778, 16384, 19484, 23171, 27555, 32768, 38968, 46341, 55109, 65536, 77936, 92682, 110218,
        131072, 155872, 185364, 220436, 262144, 311744, 370728, 440872, 524288, 623488, 741456, 881744, 1048576, 1246975,
        1482911, 1763488, 2097152, 2493949, 2965821, 3526976, 4194304, 4987897, 5931642, 7053951, 8388608, 9975793,
        11863284, 14107901
    ]), 0)::smallint
$$;
