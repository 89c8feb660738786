/* The view of files that a process has which asked for less than there is. */
#ifndef LAUNCHER_VIEW_H
#define LAUNCHER_VIEW_H

/*
 * Becomes `command` by the helper program, in a user and a mount namespace of its own that have what `lines` say ("KIND PATH"
 * each, those that are not there left out) and the directory of the file `place`, if it is not NULL. What the kernel refuses
 * is noted on standard error and done without. Returns where that cannot be: `place` is not from the root, there is no memory
 * or no helper.
 */
void become_in_view(const char *helper, char *lines, const char *place, char **command);

#endif
