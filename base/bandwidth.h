/* How fast this machine reads memory: the yardstick of everything that streams weights. */
#ifndef MHO_BASE_BANDWIDTH_H
#define MHO_BASE_BANDWIDTH_H

/* Best of several sums over a buffer larger than the last-level cache, by `threads` threads; 0 when the buffer cannot
 * be had. Bytes per second. */
double measure_read_bandwidth_Bps(int threads);

#endif
