"""Walking: poses along a path whose feet neither slip nor sink.

The order of events: the speed gives the phase of the gait cycle and where along the path every foot lands
(`footfalls`). In stance a foot rolls over heel, sole, toe joint and toe tip, which stay where they are, and the pelvis
rides on the stance leg at the height at which that knee has its normative flexion (`stance`). In swing the leg follows
the normative knee and thigh angles, bent at both ends so that it starts where stance ended and ends where the next
stance begins (`swing`). Two-link inverse kinematics then gives the knees; trunk, head and arms follow their curves
(`posing`).
"""

from app.lab.walkers.motion.walking import WalkingMotion, walk

__all__ = ["WalkingMotion", "walk"]
