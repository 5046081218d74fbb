/* SPDX-License-Identifier: MIT */
/* synth.h - a file system made of nothing, for tests and benchmarks (-fsdev synth)
 *
 *	/WRITE             takes whatever is written to it, and forgets it
 *	/DATA              64 MiB; byte n is n times 7, cut to a byte
 *	/SLOW              a read takes as many milliseconds as its offset says (at most 1000)
 *	/LOOKUP            empty
 *	/READDIR/FILEn     1000 empty files
 *	/WALK/WALK/.../    16 directories deep
 *
 * Nothing can be made, moved or removed. Owner is root.
 */
#ifndef P9_FS_SYNTH_H
#define P9_FS_SYNTH_H

struct p9_fs;

struct p9_fs *p9_synth_new(void); /* NULL: out of memory */

#endif
